package alert

import "time"

// Alert is what a rule found. An open alert of the same rule and subject counts
// up instead of becoming a second one.
type Alert struct {
	ID                    string
	Rule                  string
	Severity              int // Info to Critical
	State                 string
	Title                 string
	Subject               string // what the rule counts apart, "" for all together
	Agent, Session        string // of the newest event
	Opened, Updated       time.Time
	Count                 int
	FirstEvent, LastEvent int64
	Note, By              string
}
