package app

import (
	"context"
	"time"

	"sallyport/internal/fault"
	"sallyport/internal/record"
	"sallyport/internal/store"
)

// ExplainQuery names what is to be explained; exactly one of its first three
// fields is set.
type ExplainQuery struct {
	Event  int64 // id of an event
	Intent int64 // id of an intent
	Newest bool  // the newest decision; with Denied the newest denial
	Denied bool

	AgentFile string // agents whose rules are today's, beside the configured ones; "" for none
}

// Explained is why something happened, or did not. Decision is nil for an event
// that no decision belongs to.
type Explained struct {
	Event    Event              `json:"event"`
	What     string             `json:"what"` // one sentence: what the event is
	Decision *ExplainedDecision `json:"decision,omitempty"`
	Log      LogPlace           `json:"log"`
}

// ExplainedDecision is one decision with everything that led to it. What an
// older event does not record is empty and named in Missing.
type ExplainedDecision struct {
	Event      int64                `json:"event"`  // the intent's event; another than was asked about when that is the outcome
	Intent     int64                `json:"intent"` // its id in the ledger
	Time       time.Time            `json:"time"`
	Verdict    string               `json:"verdict"` // allow or deny; ask when nobody answered it
	Because    string               `json:"because,omitempty"`
	Asked      Asked                `json:"asked"`
	Labels     ExplainedLabels      `json:"labels"`
	Rules      []ExplainedRule      `json:"rules"`
	Advice     []record.Finding     `json:"advice"`
	Needs      []ExplainedNeed      `json:"needs,omitempty"` // of the question that was put to people
	Ask        *ExplainedAsk        `json:"ask,omitempty"`
	Signatures []ExplainedSignature `json:"signatures"`
	Grant      *ExplainedGrant      `json:"grant,omitempty"`
	Held       float64              `json:"reserved_dollars"`
	Key        string               `json:"api_key,omitempty"`
	Digest     string               `json:"digest,omitempty"`     // of the action, hex: what an approval is bound to
	PolicySet  string               `json:"policy_set,omitempty"` // that decided, hex
	Verified   bool                 `json:"verified"`             // its event, as LogPlace.Verified
	Effect     *Effect              `json:"effect,omitempty"`     // nil: none recorded
	Remedies   []Remedy             `json:"remedies"`             // what would have allowed it; empty when it was allowed
	Now        Replayed             `json:"now"`
	Missing    []string             `json:"missing"`
}

// Asked is what somebody wanted to do.
type Asked struct {
	Kind      string         `json:"kind"`
	Target    string         `json:"target,omitempty"`
	Agent     string         `json:"agent,omitempty"` // "" is the operator
	Session   string         `json:"session,omitempty"`
	Context   string         `json:"context,omitempty"`
	Principal string         `json:"principal,omitempty"`
	Args      map[string]any `json:"args,omitempty"`
	Withheld  *Withheld      `json:"withheld,omitempty"`
}

// Withheld tells of texts that were not stored because of their label.
type Withheld struct {
	Label string `json:"label"` // an installation that keeps texts up to it would have kept them
	Bytes int64  `json:"bytes"`
}

// ExplainedLabels are the labels that went into a decision and its result's.
type ExplainedLabels struct {
	Context   string `json:"context,omitempty"` // of the model transcript, before
	Args      string `json:"args,omitempty"`    // joined from the context and all arguments
	Result    string `json:"result,omitempty"`
	Ceiling   string `json:"ceiling,omitempty"`         // of the context
	Clearance string `json:"agent_clearance,omitempty"` // today's
	Sink      string `json:"sink_clearance,omitempty"`  // today's, of where the data goes
	SinkFrom  string `json:"sink_configured,omitempty"` // the setting that says so
}

// ExplainedRule is one rule that decided.
type ExplainedRule struct {
	ID      string `json:"id"`
	Origin  string `json:"origin,omitempty"` // the setting or file:line:column, in today's set
	Effect  string `json:"effect,omitempty"` // permit, forbid or ask
	Because string `json:"because,omitempty"`
	Failing string `json:"failing,omitempty"` // first condition that the nearest permit lacked
	Gone    bool   `json:"gone,omitempty"`    // no rule of today's set has this id
}

// ExplainedNeed is one requirement of a quorum with who can meet it today.
type ExplainedNeed struct {
	Count  int      `json:"count"`
	Group  string   `json:"group"`
	People []string `json:"people"`
}

// ExplainedAsk is the question that was put to people.
type ExplainedAsk struct {
	ID      string    `json:"id"`
	State   string    `json:"state"`
	Expires time.Time `json:"expires"`
	Problem string    `json:"problem,omitempty"` // why its answers cannot be verified at all
}

// ExplainedGrant is the standing permission that was used.
type ExplainedGrant struct {
	GrantInfo

	By    string `json:"by,omitempty"` // who gave it and with which key
	Known bool   `json:"known"`        // the ledger still has it
}

// Effect is how an action ended.
type Effect struct {
	Event    int64            `json:"event"`
	Verified bool             `json:"verified"` // as LogPlace.Verified
	Status   string           `json:"status"`   // done, failed, canceled, released or unknown
	Dollars  float64          `json:"dollars"`
	Seconds  float64          `json:"seconds"`
	Output   string           `json:"output,omitempty"`
	Error    string           `json:"error,omitempty"`
	Label    string           `json:"label,omitempty"`
	Findings []record.Finding `json:"findings,omitempty"`
	Withheld *Withheld        `json:"withheld,omitempty"`
}

// explainer gathers what one explanation needs.
type explainer struct {
	app   *App
	st    *store.Store
	query ExplainQuery
	asked proven // the event that was asked about
}

// ExplainEvent explains an event. fault.NotFound when there is none,
// fault.Corrupt when its row cannot be read. When the event does not verify, the
// explanation says so in Log and the error is of kind fault.Corrupt too.
func (a *App) ExplainEvent(ctx context.Context, q ExplainQuery) (Explained, error) {
	const op = "app.explainEvent"
	st, ok, err := a.reader(ctx)
	if err != nil {
		return Explained{}, err
	}
	if !ok {
		return Explained{}, fault.New(op, fault.NotFound, "there is nothing to explain in %s: nothing ever ran there; run `sallyport run examples/nightwatch.yaml --once`", a.Paths.Home)
	}
	x := &explainer{app: a, st: st, query: q}
	row, err := x.find(ctx)
	if err != nil {
		return Explained{}, err
	}
	out := Explained{Event: eventOf(row)}
	if out.Decision, err = x.decision(ctx, row); err != nil {
		return Explained{}, err
	}
	out.Log, out.What = x.asked.place, x.what(out.Decision)
	if !out.Log.Verified {
		return out, fault.New(op, fault.Corrupt, "event %d does not verify: %s; run `sallyport verify` and restore a backup", row.ID, out.Log.Problem)
	}
	return out, nil
}
