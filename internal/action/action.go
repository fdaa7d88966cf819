// Package action describes what an agent wants to do: one typed request with
// a kind, a target, arguments and a digest that approvals are bound to.
//
// Invariants: every effect in Sallyport is an Action; the value that is
// digested is the value that is shown, decided and performed, so executors take
// everything from Args; Kinds is the one table of capabilities, adding a row is
// adding a capability.
//
// Everybody may import it; it imports label and principal only.
package action

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"

	"sallyport/internal/label"
	"sallyport/internal/principal"
)

// Kind names a capability.
type Kind string

// The capabilities.
const (
	ModelCall     Kind = "model.call"
	SessionStart  Kind = "session.start"
	Exec          Kind = "exec"
	FileRead      Kind = "file.read"
	FileWrite     Kind = "file.write"
	NetConnect    Kind = "net.connect"
	HTTPRequest   Kind = "http.request"
	ToolCall      Kind = "tool.call"
	MessageSend   Kind = "message.send"
	DataRead      Kind = "data.read"
	DataWrite     Kind = "data.write"
	DataLower     Kind = "data.lower"
	DataErase     Kind = "data.erase"
	DataHold      Kind = "data.hold"
	DataExtract   Kind = "data.extract"
	SecretUse     Kind = "secret.use"
	AgentSpawn    Kind = "agent.spawn"
	AgentInstruct Kind = "agent.instruct"
	AgentStop     Kind = "agent.stop"
	ScheduleSet   Kind = "schedule.set"
	ConfigChange  Kind = "config.change"
	PolicyChange  Kind = "policy.change"
	TrustChange   Kind = "trust.change"
)

// Effect classes a kind by what it can change.
type Effect uint8

// The effects. ReadOnlyMode removes everything but Observe and Control.
const (
	Observe Effect = iota // reads or computes, changes nothing outside
	Change                // changes state on this machine
	Outward               // leaves this machine
	Control               // the operator steers Sallyport itself
)

// Row describes one kind.
type Row struct {
	Kind    Kind
	Target  string          // what Target names
	Control []string        // names of the control arguments
	Effect  Effect          // what it can change
	Needs   label.Integrity // the least integrity of context and control arguments
	Sink    string          // whose clearance counts, for explanations
}

// table is the one list of what can be done. Exec needs only foreign
// integrity because the sandbox that the session was opened with bounds it.
var table = []Row{
	{ModelCall, "endpoint/model", nil, Observe, label.Foreign, "the endpoint"},
	{SessionStart, "profile", []string{"view", "mounts", "limits"}, Change, label.Foreign, ""},
	{Exec, "session", []string{"script"}, Change, label.Foreign, "what the session can reach"},
	{FileRead, "path", []string{"path"}, Observe, label.Foreign, "the file's label"},
	{FileWrite, "path", []string{"path"}, Change, label.Member, "the file's label"},
	{NetConnect, "host:port", []string{"host"}, Outward, label.Member, "the host"},
	{HTTPRequest, "URL", []string{"host", "method", "path", "recipient"}, Outward, label.Member, "the host"},
	{ToolCall, "server/tool", nil, Outward, label.Signed, "the tool"},
	{MessageSend, "channel/recipient", []string{"recipient"}, Outward, label.Member, "the recipient"},
	{DataRead, "item", []string{"item"}, Observe, label.Foreign, "the reader's clearance"},
	{DataWrite, "item", []string{"item", "label"}, Change, label.Foreign, "the item's label"},
	{DataLower, "item", []string{"item", "label"}, Change, label.Signed, "the new label"},
	{DataErase, "item", []string{"item"}, Change, label.Signed, ""},
	{DataHold, "item", []string{"item", "held"}, Change, label.Signed, ""},
	{DataExtract, "item", []string{"item", "schema"}, Observe, label.Foreign, ""},
	{SecretUse, "name", []string{"host", "tool", "field"}, Outward, label.Member, "exactly that host or tool"},
	{AgentSpawn, "agent", []string{"ceiling", "budget", "label"}, Change, label.Foreign, ""},
	{AgentInstruct, "agent", []string{"text", "label", "clearance", "type"}, Control, label.Signed, ""},
	{AgentStop, "agent", []string{"agent"}, Control, label.Signed, ""},
	{ScheduleSet, "agent", []string{"every"}, Control, label.Signed, ""},
	{ConfigChange, "document", []string{"diff"}, Control, label.Signed, "operator's quorum"},
	{PolicyChange, "document", []string{"diff"}, Control, label.Signed, "operator's quorum"},
	{TrustChange, "document", []string{"diff"}, Control, label.Signed, "operator's quorum"},
}

// Kinds gives the table of capabilities; the caller owns the copy.
func Kinds() []Row { return slices.Clone(table) }

// RowOf gives the row of a kind; ok is false for a kind that is not a
// capability, which every caller treats as deny.
func RowOf(k Kind) (Row, bool) {
	for _, r := range table {
		if r.Kind == k {
			return r, true
		}
	}
	return Row{}, false
}

// Action is one thing somebody wants to do.
type Action struct {
	Kind      Kind
	Target    string                 // see Row.Target
	Args      map[string]any         // JSON values only: nil, bool, string, int, int64, float64, []any, map[string]any
	ArgLabels map[string]label.Label // labels of arguments that came by reference; absent = the context's label
	Body      []byte                 // bytes that Args name by their SHA-256 ("sha256", hex) and size ("bytes"); not stored with the event
	Schema    string                 // digest of the tool's schema, hex; empty for built-in kinds
	Agent     string                 // the agent's username; empty for the operator's own actions
	Session   string                 // the run
	Context   string                 // the model transcript, empty for the operator
	Principal principal.Principal    // who is behind it
}

// Arg gives a string argument, or "" if it is absent or no string.
func (a Action) Arg(name string) string {
	s, _ := a.Args[name].(string)
	return s
}

// Digest identifies an action exactly: SHA-256 over RFC 8785 canonical JSON.
type Digest [sha256.Size]byte

// String renders the digest as lower-case hex.
func (d Digest) String() string { return hex.EncodeToString(d[:]) }

// ParseDigest reads 64 hex digits.
func ParseDigest(s string) (Digest, error) {
	var d Digest
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != len(d) {
		return Digest{}, fmt.Errorf("action: digest %q is not 64 hex digits", s)
	}
	copy(d[:], b)
	return d, nil
}

// Digest computes what an approval is bound to: the kind, target, tool schema,
// full arguments with their labels, agent, the context's label and the digest
// of the policy set in force. An argument that JSON cannot carry exactly is an
// error.
func (a Action) Digest(context label.Label, policySet string) (Digest, error) {
	labels := make(map[string]any, len(a.ArgLabels))
	for name, l := range a.ArgLabels {
		labels[name] = l.String()
	}
	args := a.Args
	if args == nil {
		args = map[string]any{}
	}
	b, err := Canonical(map[string]any{
		"agent": a.Agent, "args": args, "arg_labels": labels, "context_label": context.String(),
		"kind": string(a.Kind), "policy": policySet, "schema": a.Schema, "target": a.Target,
	})
	if err != nil {
		return Digest{}, fmt.Errorf("action: digest: %w", err)
	}
	return sha256.Sum256(b), nil
}
