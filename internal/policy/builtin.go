package policy

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"sallyport/internal/action"
)

// generated is a rule that the settings or the model of information flow
// demand, as Cedar text.
type generated struct {
	id, origin, because, ask string
	head                     string // permit(…) or forbid(…) with its conditions
}

func (g generated) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "@id(%s)\n", cedarString(g.id))
	if g.ask != "" {
		fmt.Fprintf(&b, "@ask(%s)\n", cedarString(g.ask))
	}
	fmt.Fprintf(&b, "@because(%s)\n%s", cedarString(g.because), g.head)
	return b.String()
}

// cedarString quotes text; Cedar's escapes differ from Go's, so anything but
// plain printable ASCII is written as \u{…}.
func cedarString(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		if r == '"' || r == '\\' || r < 0x20 || r > 0x7e {
			b.WriteString(`\u{` + strconv.FormatInt(int64(r), 16) + `}`)
		} else {
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

func scope(effect, who string, kinds ...action.Kind) string {
	if len(kinds) == 1 {
		return fmt.Sprintf("%s (%s, action == Action::%q, resource)", effect, who, kinds[0])
	}
	names := make([]string, len(kinds))
	for i, k := range kinds {
		names[i] = fmt.Sprintf("Action::%q", k)
	}
	return fmt.Sprintf("%s (%s, action in [%s], resource)", effect, who, strings.Join(names, ", "))
}

// kindsWhere lists the kinds whose row passes the test.
func kindsWhere(test func(action.Row) bool) []action.Kind {
	var ks []action.Kind
	for _, r := range action.Kinds() {
		if test(r) {
			ks = append(ks, r.Kind)
		}
	}
	return ks
}

func (s *Settings) generate() []generated {
	// The order is that of the reasons given: a plain setting explains a denial
	// better than a label does.
	return slices.Concat(permits(), s.switches(), s.screening(), destinations(), labelRules(), s.quorums(), protections())
}

// screenRules name the settings behind the sources of a Screening.
var screenRules = map[string]string{
	"dangerous_keywords": "security.dangerous_keywords", "suspicious_keywords": "security.suspicious_keywords",
	"detectors": "security.detectors", "moderation": "moderation", "unscanned": "security.unscanned_action",
}

// screening turns what a Screening asks for into denials and asks. Which
// findings ask for what is the operator's choice, made in those settings.
func (s *Settings) screening() []generated {
	if s.Screen == nil {
		return nil
	}
	var out []generated
	for _, source := range ScreenSources {
		id := screenRules[source]
		origin := id + " (sallyport.yaml)"
		head := scope("forbid", "principal", screened...)
		out = append(out, generated{
			id: id, origin: origin, because: "change " + id + " in sallyport.yaml to permit it",
			head: head + fmt.Sprintf(" when { context.screen.contains(%q) };", source+".block"),
		}, generated{
			id: id + ".ask", origin: origin, ask: "1:owner", because: id + " asks the owner",
			head: head + fmt.Sprintf(" when { context.screen.contains(%q) } unless { context.approval.owner >= 1 };", source+".ask"),
		})
	}
	return out
}

// permits is what is allowed when nothing forbids it. Anything that leaves the
// machine needs a sink that somebody listed.
func permits() []generated {
	agent := func(cond string) string { return " when { context.agent.known && context.agent.self" + cond + " };" }
	rule := func(id, because, cond string, kinds ...action.Kind) generated {
		return generated{id: id, origin: "built in", because: because, head: scope("permit", "principal", kinds...) + agent(cond)}
	}
	return []generated{
		rule("allow.model.call", "a configured agent may ask its model", "", action.ModelCall),
		rule("allow.session.start", "an agent may open a session of its own profile",
			" && context.target == context.agent.profile", action.SessionStart),
		rule("allow.exec", "commands run within the session's limits", " && context.agent.exec", action.Exec),
		rule("allow.file.read", "reading below allowed_file_paths", " && context.path_allowed", action.FileRead),
		rule("allow.file.write", "writing below allowed_file_paths in a writable profile",
			" && context.path_allowed && context.agent.writable", action.FileWrite),
		rule("allow.outward", "the destination is listed in the settings", " && context.sink.listed",
			action.NetConnect, action.HTTPRequest, action.ToolCall, action.MessageSend, action.SecretUse),
		rule("allow.network.approved", "the owner said yes to a destination that no rule lists",
			" && context.destination.exact && !context.sink.listed && context.approval.owner >= 1", action.NetConnect, action.HTTPRequest),
		rule("allow.data", "data within the agent's clearance", "", action.DataRead, action.DataWrite, action.DataExtract),
		rule("allow.lower", "an agent may ask people to lower what it may read", "", action.DataLower),
		rule("allow.spawn", "an agent may spawn whom it is configured to", "", action.AgentSpawn),
		{
			id: "allow.operator", origin: "built in", because: "the operator steers",
			head: scope("permit", "principal is Operator", action.DataLower, action.DataErase, action.DataHold, action.AgentSpawn, action.AgentInstruct,
				action.AgentStop, action.ScheduleSet, action.ConfigChange, action.PolicyChange, action.TrustChange) + ";",
		},
		{
			id: "allow.operator.data", origin: "built in", because: "the operator keeps the items",
			head: scope("permit", "principal is Operator", action.DataRead, action.DataWrite) + " when { context.agent.name == \"\" };",
		},
		{
			id: "allow.operator.commit", origin: "built in", because: "the operator commits changes that were looked at",
			head: scope("permit", "principal is Operator", action.FileWrite) + " when { context.agent.name == \"\" && context.path_allowed };",
		},
	}
}

// destinations are the rules about where connections lead. Which setting lists
// a destination is looked up before (context.sink); these say what follows.
func destinations() []generated {
	return []generated{
		{
			id: "network.target", origin: "built in",
			because: "the target does not say exactly what host, port, method and path say; nothing is permitted that people could misread",
			head:    scope("forbid", "principal", action.NetConnect, action.HTTPRequest) + " unless { context.destination.exact };",
		},
		{
			id: "network.unlisted", origin: "profiles.*.network.allow, network.allow (sallyport.yaml)", ask: "1:owner",
			because: "no network rule lists the destination; add it under profiles.NAME.network.allow, or give a grant for it",
			head: scope("forbid", "principal", action.NetConnect, action.HTTPRequest) +
				" when { context.agent.known && !context.sink.listed } unless { context.approval.owner >= 1 };",
		},
		{
			id: "secrets.bound", origin: "secrets (sallyport.yaml)",
			because: "a secret goes to exactly the host and port it is bound to, for the profiles that name it",
			head:    scope("forbid", "principal", action.SecretUse) + " unless { context.sink.listed };",
		},
	}
}

// labelRules are the rules of information flow. Their sentences name the
// labels, see because.go.
func labelRules() []generated {
	all := kindsWhere(func(action.Row) bool { return true })
	needs := kindsWhere(func(r action.Row) bool { return r.Needs > 0 })
	sinks := kindsWhere(func(r action.Row) bool { return r.Sink != "" })
	rule := func(id, because, cond string, kinds []action.Kind) generated {
		return generated{
			id: id, origin: "built in: " + id, because: because,
			head: scope("forbid", "principal", kinds...) + " unless { " + cond + " };",
		}
	}
	return []generated{
		rule("R3a", "the context is not trusted enough for this kind of action", "context.flow.integrity", needs),
		rule("R3b", "a control argument is not trusted enough for this kind of action", "context.flow.control", needs),
		rule("R3c", "the data is above the destination's clearance", "context.flow.sink", sinks),
		rule("R1a", "the result is above the agent's clearance", "context.flow.clearance", all),
		rule("R1c", "the result is above what the agent's model endpoint may receive", "context.flow.endpoint", all),
		rule("R1b", "the result would lift the context above its ceiling", "context.flow.ceiling", all),
		rule("R1", "the item is not there, or above what the agent may use here", "context.flow.item", dataKinds),
		rule("taint", "reading would raise the context, which nobody said it should", "context.flow.taint", []action.Kind{action.DataRead, action.DataWrite}),
		rule("R5", "what is written does not flow to the label of where it goes", "context.flow.write",
			[]action.Kind{action.DataWrite, action.MessageSend, action.ToolCall, action.ModelCall}),
		rule("R6", "the new context is not within its parent and its agent", "context.flow.spawn", []action.Kind{action.AgentSpawn}),
		rule("R7", "an extraction brings one answer of its schema, for bits of the context's budget", "context.flow.extract", []action.Kind{action.DataExtract}),
		rule("R8.exact", "a request to lower names exactly what people sign", "context.flow.lower", []action.Kind{action.DataLower}),
		rule("instruct", "people instruct the highest tier, within its ceiling", "context.flow.instruct", []action.Kind{action.AgentInstruct}),
	}
}

// switches are the simple settings.
func (s *Settings) switches() []generated {
	// agent.spawn only creates a transcript, and each thing that it does then is
	// judged by itself; without this exception nothing could run read-only.
	changes := kindsWhere(func(r action.Row) bool {
		return (r.Effect == action.Change || r.Effect == action.Outward) && r.Kind != action.AgentSpawn
	})
	rules := []generated{
		{
			id: "agent.unknown", origin: "built in: R0", because: "the agent is not configured, so it may do nothing",
			head: "forbid (principal is Agent, action, resource) unless { context.agent.known };",
		},
		{
			id: "readOnlyMode", origin: fmt.Sprintf("readOnlyMode = %t (sallyport.yaml)", s.ReadOnly),
			because: "read-only mode removes commands, writes and sends (readOnlyMode: true); set readOnlyMode: false to permit them",
			head:    scope("forbid", "principal", changes...) + " when { context.read_only };",
		},
		{
			id: "security.enable_command_execution", origin: "security.enable_command_execution, profiles.*.exec (sallyport.yaml)",
			because: "command execution is disabled (security.enable_command_execution: false), so the shell does not exist; " +
				"enable it for the agent's profile in sallyport.yaml",
			head: scope("forbid", "principal", action.SessionStart, action.Exec) + " when { context.agent.known } unless { context.agent.exec };",
		},
		{
			id: "security.allowed_file_paths", origin: "security.allowed_file_paths (sallyport.yaml)",
			because: "the path is not a clean absolute path below security.allowed_file_paths; add its directory there to permit it",
			head:    scope("forbid", "principal", action.FileRead, action.FileWrite) + " unless { context.path_allowed };",
		},
	}
	if len(s.BlockedCommands) > 0 {
		rules = append(rules, generated{
			id: "security.blocked_commands", origin: "security.blocked_commands (sallyport.yaml)",
			because: "the script runs a program of security.blocked_commands (a detector made to block by that setting: " +
				blockedRate + "; the limits of the sandbox hold without it)",
			head: scope("forbid", "principal", action.Exec) + " unless { context.command.blocked.isEmpty() };",
		})
	}
	return rules
}

// blockedRate is what the reader of commands measures on its own corpus; see
// TestFalsePositiveRate in scan/command.
const blockedRate = "measured false-positive rate 0 of 60 harmless scripts"

// protections turn commandProtection into asks. What the operator typed was
// already decided by the operator.
func protections() []generated {
	exec := scope("forbid", "principal is Agent", action.Exec)
	return []generated{
		{
			id: "commandProtection.manual", origin: "commandProtection: manual (agent file or sallyport.yaml)", ask: "1:owner",
			because: "commandProtection: manual asks the owner before each command",
			head:    exec + " when { context.agent.protection == \"manual\" } unless { context.approval.owner >= 1 };",
		},
		{
			id: "commandProtection.auto", origin: "commandProtection: auto (agent file or sallyport.yaml)", ask: "1:owner",
			because: "commandProtection: auto asks the owner, because the review did not pass this command",
			head: exec + " when { context.agent.protection == \"auto\" } unless { context.args has review && context.args.review == \"pass\" }" +
				" unless { context.approval.owner >= 1 };",
		},
	}
}
