package policy

import (
	"fmt"
	"slices"
	"strings"

	"github.com/cedar-policy/cedar-go/types"
	"github.com/cedar-policy/cedar-go/x/exp/schema"
	"github.com/cedar-policy/cedar-go/x/exp/schema/resolved"
	"github.com/cedar-policy/cedar-go/x/exp/schema/validate"

	"sallyport/internal/action"
	"sallyport/internal/principal"
)

// resourceTypes names the Cedar type of each kind's target.
var resourceTypes = map[action.Kind]types.EntityType{
	action.ModelCall: "Model", action.SessionStart: "Profile", action.Exec: "Session",
	action.FileRead: "File", action.FileWrite: "File",
	action.NetConnect: "Host", action.HTTPRequest: "URL", action.ToolCall: "Tool", action.MessageSend: "Recipient",
	action.DataRead: "Item", action.DataWrite: "Item", action.DataLower: "Item", action.DataErase: "Item",
	action.DataHold: "Item", action.DataExtract: "Item", action.AgentInstruct: "Agent",
	action.SecretUse: "Secret", action.AgentSpawn: "Agent", action.AgentStop: "Agent", action.ScheduleSet: "Agent",
	action.ConfigChange: "Document", action.PolicyChange: "Document", action.TrustChange: "Document",
}

var principalTypes = map[principal.Kind]types.EntityType{
	principal.Unknown: "Unknown", principal.Person: "Person", principal.Agent: "Agent",
	principal.Service: "Service", principal.Operator: "Operator",
}

// moreArgs are arguments that rules may look at although they control nothing.
var moreArgs = map[action.Kind][]string{
	action.Exec:        {"review"},
	action.FileWrite:   {"protected", "count"},
	action.NetConnect:  {"port", "program"},
	action.HTTPRequest: {"port", "program"},
	action.SecretUse:   {"port"},
}

// argNames lists the arguments of a kind that the schema knows. All are
// optional strings; an argument that is no string appears as canonical JSON.
func argNames(r action.Row) []string {
	return slices.Concat(r.Control, moreArgs[r.Kind])
}

// Schema gives the Cedar schema that policies and requests must follow, for
// the given approval groups.
func Schema(groups []string) string {
	var b strings.Builder
	b.WriteString(`entity Operator, Agent, Person, Service, Unknown;
entity Model, Profile, Session, File, Host, URL, Tool, Recipient, Item, Secret, Document;
type AgentFacts = {name: String, known: Bool, self: Bool, profile: String, protection: String, exec: Bool, writable: Bool};
type LabelFacts = {text: String, level: Long, integrity: Long};
type SinkFacts = {listed: Bool, clearance: String};
type FlowFacts = {sink: Bool, integrity: Bool, control: Bool, clearance: Bool, ceiling: Bool, endpoint: Bool, item: Bool, taint: Bool,
  write: Bool, spawn: Bool, extract: Bool, lower: Bool, instruct: Bool, trusted: Bool};
type DestinationFacts = {exact: Bool, host: String, port: Long, program: String};
type History = {calls: Long, denials: Long, spent_micros: Long};
type Approvals = {` + strings.Join(slices.Collect(mapSeq(groups, func(g string) string { return g + ": Long" })), ", ") + `};
type CommandFacts = {programs: Set<String>, blocked: Set<String>, unresolved: Bool};
`)
	for _, r := range action.Kinds() {
		args := slices.Collect(mapSeq(argNames(r), func(n string) string { return n + "?: String" }))
		extra := ""
		if slices.Contains(screened, r.Kind) {
			extra = ", screen: Set<String>"
		}
		switch r.Kind {
		case action.Exec:
			extra += ", command: CommandFacts"
		case action.FileRead, action.FileWrite:
			extra = ", path_allowed: Bool"
		case action.NetConnect, action.HTTPRequest:
			extra = ", destination: DestinationFacts"
		default:
		}
		fmt.Fprintf(&b, `action %q appliesTo {
  principal: [Operator, Agent, Person, Service, Unknown],
  resource: [%s],
  context: {target: String, read_only: Bool, now: datetime, tier: String, agent: AgentFacts, label: LabelFacts, sink: SinkFacts,
    flow: FlowFacts, hist: History, approval: Approvals, args: {%s}%s}
};
`, r.Kind, resourceTypes[r.Kind], strings.Join(args, ", "), extra)
	}
	return b.String()
}

func mapSeq[T, U any](in []T, fn func(T) U) func(func(U) bool) {
	return func(yield func(U) bool) {
		for _, v := range in {
			if !yield(fn(v)) {
				return
			}
		}
	}
}

// validators checks policies and requests. The library works through every
// action of its schema for each policy, so a policy about a few kinds is checked
// with a schema of those alone: same answer, a fraction of the work.
type validators struct {
	schema *resolved.Schema
	all    *validate.Validator
	some   map[string]*validate.Validator // by the kinds
}

func newValidators(groups []string) (*validators, error) {
	var s schema.Schema
	s.SetFilename("schema")
	if err := s.UnmarshalCedar([]byte(Schema(groups))); err != nil {
		return nil, fmt.Errorf("policy: schema: %w", err)
	}
	r, err := s.Resolve()
	if err != nil {
		return nil, fmt.Errorf("policy: schema: %w", err)
	}
	return &validators{schema: r, all: validate.New(r), some: map[string]*validate.Validator{}}, nil
}

// forPolicy gives the validator for a policy that can match these kinds, of
// which its scope names so many. One that names what is no kind needs all, to be
// told so.
func (v *validators) forPolicy(kinds []action.Kind, named int) *validate.Validator {
	if len(kinds) == 0 || len(kinds) != named {
		return v.all
	}
	key := fmt.Sprint(kinds)
	if got, ok := v.some[key]; ok {
		return got
	}
	few := *v.schema
	few.Actions = make(map[types.EntityUID]resolved.Action, len(kinds))
	for _, k := range kinds {
		few.Actions[actionUID(k)] = v.schema.Actions[actionUID(k)]
	}
	v.some[key] = validate.New(&few)
	return v.some[key]
}
