package alert

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"strings"
	"time"

	"sallyport/internal/record"
)

// Detail is what a message says beside its alert.
type Detail struct {
	Message  string   // id of the message: the same in every try, so that a receiver can drop repetitions
	Instance string   // which installation speaks
	More     int      // further alerts of the same rule that this message stands for
	IDs      []string // of those, at most maxIDs
	Time     time.Time
}

// maxIDs bounds how many ids a message lists.
const maxIDs = 50

// Sink is a place that alerts are told to. It is safe for concurrent use.
type Sink interface {
	Name() string
	// Send tells one alert. An error of kind fault.Unavailable may be tried
	// again; any other kind says that trying again is no use.
	Send(ctx context.Context, a record.Alert, d Detail) error
}

// Dial connects to an address; app gives one that decides where to.
type Dial func(ctx context.Context, network, address string) (net.Conn, error)

// Message is the JSON that webhooks and commands receive.
type Message struct {
	Message  string    `json:"message"` // id; repeated tries have the same
	Instance string    `json:"instance"`
	Time     time.Time `json:"time"` // of sending, UTC
	ID       string    `json:"id"`
	Rule     string    `json:"rule"`
	Severity string    `json:"severity"` // info, low, medium, high or critical
	State    string    `json:"state"`
	Title    string    `json:"title"`
	Subject  string    `json:"subject,omitempty"`
	Agent    string    `json:"agent,omitempty"`
	Session  string    `json:"session,omitempty"`
	Opened   time.Time `json:"opened"`
	Updated  time.Time `json:"updated"`
	Count    int       `json:"count"`
	First    int64     `json:"first_event"`
	Last     int64     `json:"last_event"`
	More     int       `json:"more,omitempty"` // further alerts of this rule that this message stands for
	IDs      []string  `json:"more_ids,omitempty"`
	Show     string    `json:"show"` // the command that shows everything
}

func messageOf(a record.Alert, d Detail) Message {
	return Message{
		Message: d.Message, Instance: d.Instance, Time: d.Time.UTC(), ID: a.ID, Rule: a.Rule, Severity: SeverityName(a.Severity), State: a.State,
		Title: a.Title, Subject: a.Subject, Agent: a.Agent, Session: a.Session, Opened: a.Opened.UTC(), Updated: a.Updated.UTC(),
		Count: a.Count, First: a.FirstEvent, Last: a.LastEvent, More: d.More, IDs: d.IDs, Show: show(a),
	}
}

func encodeMessage(a record.Alert, d Detail) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(messageOf(a, d)); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte{'\n'}), nil
}

// line is an alert as one line for people.
func line(a record.Alert, d Detail) string {
	s := fmt.Sprintf("[%s] %s", SeverityName(a.Severity), a.Title)
	if a.Count > 1 {
		s += fmt.Sprintf(" (%d events)", a.Count)
	}
	if d.More > 0 {
		s += fmt.Sprintf(", and %d more", d.More)
	}
	return Plain(s+"; "+show(a), 1024)
}

// show names the next command.
func show(a record.Alert) string {
	if a.ID == "" {
		return "sallyport alerts"
	}
	return "sallyport alerts show " + Plain(a.ID, 64)
}

// text is an alert in several lines for people.
func text(a record.Alert, d Detail) string {
	var b strings.Builder
	row := func(name, value string) {
		if value = Plain(value, 1024); value != "" {
			fmt.Fprintf(&b, "%-10s%s\n", name, value)
		}
	}
	fmt.Fprintf(&b, "%s\n\n", Plain(a.Title, 1024))
	row("alert", a.ID)
	row("rule", a.Rule)
	row("severity", SeverityName(a.Severity))
	row("subject", a.Subject)
	row("agent", a.Agent)
	row("session", a.Session)
	row("events", fmt.Sprintf("%d, from %d to %d", a.Count, a.FirstEvent, a.LastEvent))
	row("opened", a.Opened.UTC().Format(time.RFC3339))
	row("instance", d.Instance)
	if d.More > 0 {
		fmt.Fprintf(&b, "\n... and %d more of the same rule: %s\n", d.More, Plain(strings.Join(d.IDs, " "), 4096))
	}
	fmt.Fprintf(&b, "\n%s\n", show(a))
	return b.String()
}
