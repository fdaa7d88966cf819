package record

import (
	"slices"
	"strings"
	"time"

	"sallyport/internal/label"
)

// Roles of API keys. A key may have several, as a comma list.
const (
	RoleAgent   = "agent"   // may call models
	RoleIngest  = "ingest"  // may send events
	RoleMetrics = "metrics" // may read the metrics
)

// APIKey is what is known of a key with which a client calls. The key itself is
// shown once, when it is made, and kept nowhere.
type APIKey struct {
	ID                string // short, without a colon; names the key in accounts and events
	Name              string // for people; of the keys that are not revoked each has its own
	Agent             string // on whose behalf its calls are made
	Role              string // RoleAgent …, comma list
	Ceiling           label.Label
	Client            string   // which client it is for, empty for any
	Hash              [32]byte // SHA-256 of the key
	Created           time.Time
	Expires           time.Time
	Revoked           time.Time // zero while it is not
	LastUsed          time.Time // to the minute; zero if it never was
	LimitMicros       Micros    // what it may ever spend; negative = no limit
	DayMicros         Micros    // what it may spend per UTC day; negative = no limit
	RequestsPerMinute int       // 0 = no limit
	TokensPerMinute   int       // 0 = no limit
}

// Live reports whether the key counts at a time: neither revoked nor expired.
func (k APIKey) Live(now time.Time) bool { return k.Revoked.IsZero() && now.Before(k.Expires) }

// Has reports whether the key has a role.
func (k APIKey) Has(role string) bool {
	return role != "" && slices.Contains(strings.Split(k.Role, ","), role)
}

// States of an alert: it is open, may be acknowledged, and ends as one of the
// other two for good.
const (
	AlertOpen          = "open"
	AlertAcknowledged  = "acknowledged"
	AlertResolved      = "resolved"
	AlertFalsePositive = "false_positive"
)

// Alert is something people must look at. While one of a rule and subject is
// open or acknowledged, another of them only counts.
type Alert struct {
	ID                    string // short, chosen by the store
	Rule                  string // the rule that raised it
	Severity              int    // 1 to 5, as of findings
	State                 string // AlertOpen …
	Title                 string
	Subject               string // what it is about, as the rule tells cases apart
	Agent, Session        string
	Opened, Updated       time.Time // of its first and last event; the store's time if zero
	Count                 int       // how often it came; at least 1
	FirstEvent, LastEvent int64     // ids of events, 0 for none; these outlive retention
	Note, By              string    // what was said when its state changed, and by whom
	Sinks                 []string  // only when raised: where it is to be delivered now
}

// States of a delivery.
const (
	DeliveryPending = "pending"
	DeliveryDone    = "delivered"
	DeliveryFailed  = "failed" // given up
)

// Delivery is an alert on its way to a sink.
type Delivery struct {
	Alert string // id
	Sink  string
	State string
	Tries int       // so far
	Next  time.Time // not before; only while it is pending
	Error string    // of the last try
}
