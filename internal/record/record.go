// Package record holds the nouns that pass between the gate and the rooms that
// serve it: what was asked, decided, intended, reserved and done.
//
// Invariants: plain values without behaviour beyond arithmetic and predicates;
// nothing here reads a clock or does I/O.
//
// Everybody may import it; it imports action, label and principal only.
package record

import (
	"time"

	"sallyport/internal/action"
	"sallyport/internal/label"
)

// Micros is money in millionths of a US dollar.
type Micros int64

// Dollars gives the amount in US dollars, for display.
func (m Micros) Dollars() float64 { return float64(m) / 1e6 }

// Verdict is the outcome of a decision.
type Verdict uint8

// The verdicts; the zero value denies.
const (
	Deny Verdict = iota
	Ask
	Allow
)

var verdictNames = [...]string{"deny", "ask", "allow"}

// String gives the verdict's stable name.
func (v Verdict) String() string {
	if int(v) < len(verdictNames) {
		return verdictNames[v]
	}
	return "deny"
}

// Need is one requirement of an ask: Count distinct people of Group.
type Need struct {
	Count int
	Group string // "owner" until groups are configured
}

// ObligationGrant obliges the gate to charge the grant that Value names: the
// decision allowed because of it.
const ObligationGrant = "grant"

// Obligation is something the enforcement point owes besides the verdict.
type Obligation struct {
	Kind  string // ObligationGrant; redact, narrow, notify
	Value string
}

// Decision is allow, ask or deny, with its reasons.
type Decision struct {
	Verdict     Verdict
	Rules       []string // ids of the rules that decided, most decisive first
	Because     string   // one sentence: the rule, the first failing condition, the remedy
	Needs       []Need   // for Ask
	Obligations []Obligation
	ResultLabel label.Label // label of the result, fixed before it exists (LIO)
	Advice      []Finding   // what detectors saw in the arguments; never decides to allow
}

// Finding is what a detector saw.
type Finding struct {
	Rule       string  `json:"rule"`
	Start, End int     `json:"-"` // byte span in the inspected text
	Severity   int     `json:"severity"`
	Confidence float64 `json:"confidence"`
	Detail     string  `json:"detail,omitempty"`
}

// Approval is a verified signed statement over an action's digest.
type Approval struct {
	Nonce   string // server nonce, hex; consumed with the intent
	Person  string // distinct people are counted, not keys
	Groups  []string
	KeyID   string
	Expires time.Time
}

// ApprovalRequest asks people for approval of one exact action.
type ApprovalRequest struct {
	Action    action.Action
	Digest    action.Digest
	Context   label.Label
	PolicySet string
	Needs     []Need
	Because   string
	Advice    []Finding
	Requester string // the person who asks, as the trust file names them; "" if nobody in person
}

// Grant is a standing permission: scoped, expiring, revocable.
type Grant struct {
	ID      string
	Parent  string // grant it was delegated from, empty for the operator's own
	Agent   string
	Kind    action.Kind
	Target  string // exact target, or a prefix ending in "*"
	Expires time.Time
	Uses    int // remaining uses; 0 = unlimited until expiry
	Revoked bool
	Because string
}

// Covers reports whether the grant permits an action now. An expired, revoked
// or wider-than-asked match is no match.
func (g Grant) Covers(a action.Action, now time.Time) bool {
	if g.Revoked || !now.Before(g.Expires) || g.Kind != a.Kind || g.Agent != a.Agent {
		return false
	}
	return matchTarget(g.Target, a.Target)
}

// Within reports whether g is no wider than its parent in every dimension.
func (g Grant) Within(parent Grant) bool {
	if g.Kind != parent.Kind || g.Agent != parent.Agent || g.Expires.After(parent.Expires) || parent.Revoked {
		return false
	}
	if parent.Uses > 0 && (g.Uses == 0 || g.Uses > parent.Uses) {
		return false
	}
	if n := len(parent.Target); n > 0 && parent.Target[n-1] == '*' {
		return len(g.Target) >= n-1 && g.Target[:n-1] == parent.Target[:n-1]
	}
	return g.Target == parent.Target
}

func matchTarget(pattern, target string) bool {
	if n := len(pattern); n > 0 && pattern[n-1] == '*' {
		return len(target) >= n-1 && target[:n-1] == pattern[:n-1]
	}
	return pattern == target
}

// Snapshot is what a decision is based on, with the revision it was read at.
type Snapshot struct {
	Revision int64       // moves when label, grants, budget or stop flag of the scope move
	Context  label.Label // L(x); the operator's own actions have label.Bottom
	Ceiling  label.Label // M(x)
	Grants   []Grant     // live grants of the agent
	Spent    Micros      // settled and reserved cost of the agent
	Denials  int         // denials of the session so far
	Calls    map[string]int
	Stopped  string // who stopped this agent or everything, empty if nobody
	ReadOnly bool
	Bits     int // bits that the context may still extract from foreign data (rule R7)
}

// Scope names whose snapshot is wanted.
type Scope struct {
	Agent, Session, Context string
}

// Question is everything a decision may depend on.
type Question struct {
	Action    action.Action
	Snapshot  Snapshot
	Args      label.Label // join of the context's label and the arguments' labels
	Approvals map[string]int
	Now       time.Time
}

// Reservation bounds what an action may cost, held until it is settled.
type Reservation struct {
	Account string // the agent's username
	Micros  Micros
	Limit   Micros // the account's limit; negative = none
	Total   Micros // the limit of all agents' accounts together; 0 or negative = none
	Also    []Allowance
	Key     string // id of the API key that asked, empty for none
}

// Allowance is a further account that an action is charged to: that of a key or
// of a day. Their names hold a colon, which no agent's has, and they are not
// part of Reservation.Total.
type Allowance struct {
	Account string // "key:ID", "day:2026-11-21", "day:2026-11-21:key:ID", "day:2026-11-21:agent:NAME"
	Limit   Micros // negative = none
}

// Fork asks the ledger to create a model transcript as part of an intent: only
// agent.spawn does. Label and ceiling are fixed from birth.
type Fork struct {
	Context string
	Label   label.Label
	Ceiling label.Label
	// Bits is the context's budget of extraction (rule R7). They are taken from
	// Parent for good; a context without a parent begins with its own.
	Bits   int
	Parent string
	// Instruction is the id of the signed instruction that the context carries
	// out, empty for none. It is taken with the intent, once.
	Instruction string
}

// Intent is what is made durable before an effect starts. A denied action is
// recorded the same way, with Decision.Verdict Deny, and is settled by itself.
type Intent struct {
	Action    action.Action
	Digest    action.Digest
	Decision  Decision
	Context   label.Label // the context's label that the digest covers
	Args      label.Label
	Reserve   Reservation
	Approvals []Approval // consumed with the intent
	Grant     string     // id of the grant that was used, empty for none
	Fork      *Fork
	Bits      int   // bits extracted, taken from the context's budget; refused when it holds less
	Revision  int64 // the snapshot's; the ledger refuses when it moved
	PolicySet string
}

// Receipt is the ledger's acknowledgement: the intent is durable.
type Receipt struct {
	ID   int64 // intent id
	Leaf int64 // index in the log
	Time time.Time
}

// Status is how an action ended.
type Status string

// The statuses of an outcome. Unknown is what restart recovery writes for an
// intent whose process died.
const (
	Done     Status = "done"
	Failed   Status = "failed"
	Canceled Status = "canceled"
	Released Status = "released"
	Unknown  Status = "unknown"
)

// Result is what performing an action gave.
type Result struct {
	Output   string      // what the model or the person sees
	Label    label.Label // set by the gate from the intent
	Cost     Micros
	Findings []Finding
	Payload  any            // typed detail per kind, see the executor: ExecResult, llm.Response …
	Data     map[string]any // JSON detail recorded with the outcome: usage, exit status …
}

// Outcome settles an intent.
type Outcome struct {
	Intent  int64
	Status  Status
	Result  Result
	Err     string // public sentence of the failure
	Elapsed time.Duration
}

// ExecResult is the payload of an exec action.
type ExecResult struct {
	Exit     int
	Signal   string
	Cwd      string
	TimedOut bool
	Restart  bool  // the shell died and was started again
	Total    int64 // bytes the command printed
	Dropped  int64 // bytes cut from the middle
}

// Event is something that happened and is no effect by itself: a session note,
// an operator's message, a report. It gets a leaf like everything else.
type Event struct {
	Type    string // event_type, e.g. session.note
	Agent   string
	Session string
	Channel string // SYSTEM, LLM, SHELL, OPERATOR, MAIL …
	Level   string // debug, info, warning, error
	Alert   string // none, suspicious, dangerous
	Data    map[string]any
}
