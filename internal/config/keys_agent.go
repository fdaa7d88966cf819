package config

import (
	"regexp"
	"slices"
	"strings"
)

// Dialects of agent files. They are declared, never guessed, because the same
// key means opposite things: debugPauseSeconds: 0 waits for ever in dialect 1
// and not at all in dialect 3.
const (
	Dialect2024 = 1 // the meaning of 2024; the default
	DialectNow  = 3 // the newer meaning
)

// reservedNames would let an agent pass for the operator or the program.
var reservedNames = []string{"admin", "debug", "operator", "sallyport", "system"}

// commonAgentFields are the keys both dialects have.
func commonAgentFields() []field {
	user := matching("Name of the agent, its home and its mailbox.", userForm, userRE)
	user.check = func(n *node) (string, string) {
		if slices.Contains(reservedNames, n.text) {
			return "is reserved: messages from it would look like the operator's", "choose another name"
		}
		return "", ""
	}
	prompt := nonEmpty("What the agent is and does. ${agent.x} and ${env.X} are expanded.")
	prompt.multiline = true
	initial := texts("Commands whose output starts a session.")
	initial.elem = nonEmpty("One command.")
	initial.elem.multiline = true
	return []field{
		{"dialect", &spec{kind: sInt, doc: "1 (2024, the default) or 3 (newer meaning).", check: func(n *node) (string, string) {
			if n.i != Dialect2024 && n.i != DialectNow {
				return "must be 1 or 3", "write dialect: 1 for the meaning of 2024, dialect: 3 for the newer one"
			}
			return "", ""
		}}},
		{"username", user},
		{"title", nonEmpty("What the agent is called in its prompt.")},
		{"shellModel", nonEmpty("Name of the model at the shell; see models: in sallyport.yaml.")},
		{"agentPrompt", prompt},
		{"tokenMax", integer("Tokens one context may hold.", 1, 10_000_000)},
		{"spendLimitDollars", &spec{kind: sNumber, doc: "US dollars the agent may spend, over all its runs.", min: 0, max: 1e6, exclusive: true}},
		{"commandProtection", oneOf("none: run; manual: the operator is asked; auto: a model reviews and may only narrow or ask.", "none", "manual", "auto")},
		{"wakeOnMessage", boolean("Whether a message ends a pause.")},
		{"initialCommands", initial},
		{"multipleAgents", boolean("Accepted and without effect: a directory of agent files starts several agents.")},
	}
}

// agentSpec is the table of an agent file in one dialect.
func agentSpec(dialect int) *spec {
	s := group("An agent file.", commonAgentFields()...)
	s.required = []string{"username", "title", "shellModel", "agentPrompt", "tokenMax"}
	pause := upTo("Seconds to wait at the debug prompt; absent or 0: for ever.", 31_536_000)
	if dialect == DialectNow {
		pause = integer("Seconds to wait at the debug prompt; 0: go on at once; absent: for ever.", 0, 31_536_000)
	} else {
		s.fields = append(s.fields, field{"webModel", nonEmpty("Name of the model that reduces web pages.")})
		s.required = []string{"username", "title", "shellModel", "webModel", "agentPrompt", "spendLimitDollars", "tokenMax"}
	}
	s.fields = append(s.fields, field{"debugPauseSeconds", pause})
	return s
}

// onlyNow are keys that exist in dialect 3 only. None is enforced yet; the
// switches among them may be false, which is what holds anyway.
var onlyNow = []string{
	"spendLimitHours", "chatEnabled", "browserEnabled", "completeSessionEnabled",
	"multipleCommandsEnabled", "workspacesEnabled", "controlDesktop",
}

// switches may be given as false: the feature is off because it does not exist.
// multipleCommandsEnabled is not among them: its false would be a restriction.
var switches = []string{
	"mailEnabled", "chatEnabled", "webEnabled", "browserEnabled", "completeSessionEnabled",
	"workspacesEnabled", "controlDesktop", "completeTaskEnabled",
}

// notYet are keys of dialects after the first that are known but not enforced.
var notYet = append([]string{
	"imageModel", "mailEnabled", "webEnabled", "dreamModel", "subagentMax", "mailBlackoutCycles",
	"mailMessageTokenMax", "completeTaskEnabled", "envPath", "subagentDirectory",
	"disableMultipleCommands", "persistAcrossRuns",
}, onlyNow...)

// goneNow are keys of older dialects that dialect 3 does not have.
var goneNow = []string{"webModel", "dreamModel", "subagentMax"}

var agentKeyRE = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// agentKey says what is wrong with a key the dialect's table does not have; an
// empty problem accepts it. used: some text of the file has ${agent.key}.
func agentKey(e entry, dialect int, used bool, table *spec) (problem, remedy string, later bool) {
	off := e.val.kind == nBool && !e.val.b && slices.Contains(switches, e.key)
	switch {
	case dialect == DialectNow && slices.Contains(goneNow, e.key):
		return "does not exist in dialect 3", "remove it, or remove dialect: 3", false
	case dialect != DialectNow && slices.Contains(onlyNow, e.key):
		return "belongs to dialect 3, which this file does not declare", "add dialect: 3 (debugPauseSeconds: 0 then means: go on at once), or remove the key", false
	case off:
		return "", "", false
	case slices.Contains(notYet, e.key):
		return "is not yet enforced by this release", "remove the key, or wait for a release that enforces it; it would have no effect here", true
	case used && e.val.kind != nMap && e.val.kind != nList && e.val.kind != nNull && agentKeyRE.MatchString(e.key):
		return "", "", false
	case used:
		return "is used in a template but is not a text, a number or a switch", "give it a plain value", false
	}
	if near := nearest(e.key, table.names()); near != "" {
		return "unknown key", "did you mean " + near + "?", false
	}
	return "unknown key", "remove it, or use it in the prompt as ${agent." + short(e.key) + "}; known: " + strings.Join(table.names(), ", "), false
}
