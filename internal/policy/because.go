package policy

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"sallyport/internal/action"
	"sallyport/internal/label"
)

// because gives a rule's sentence for one question: the label rules and the
// switches name what was compared and what would change it.
func (e *Engine) because(r *Rule, f *facts) string {
	a := &f.q.Action
	switch r.ID {
	case "agent.unknown":
		return fmt.Sprintf("agent %q is not configured, so its clearance is public and it may do nothing; run it from its agent file", a.Agent)
	case "R1a":
		return fmt.Sprintf("what %s of %q gives is %s, above agent %q's clearance %s; to permit it, set agents.%s.clearance: %s",
			a.Kind, a.Target, e.show(f.base), a.Agent, e.conf(f.agent.Clearance), a.Agent, e.conf(f.base))
	case "R1b":
		return fmt.Sprintf("the result is %s and would lift the context above its ceiling %s; start the agent with a higher ceiling, or use another agent for it",
			e.show(f.base), e.show(f.q.Snapshot.Ceiling))
	case "R1c":
		return fmt.Sprintf("the result is %s and agent %q's model endpoint, which sees all of its context, may receive only %s; give the agent a local model, raise %s in sallyport.yaml knowingly, or use another agent for it",
			e.show(f.base), a.Agent, e.conf(f.agent.Endpoint), cmp.Or(f.agent.Origin, "the clearance of its endpoint"))
	case "R1":
		return fmt.Sprintf("there is nothing named %q that agent %q may use here: what is not there looks like what is above its clearance %s, its context's ceiling %s or its model's endpoint; ask the operator, or take an item of `index`",
			a.Target, a.Agent, e.conf(f.agent.Clearance), e.show(f.q.Snapshot.Ceiling))
	case "taint":
		return e.becauseTaint(f)
	case "R5", "R6", "R7", "R8.exact", "instruct":
		if f.why != "" {
			return f.why
		}
	case "R3a":
		return fmt.Sprintf("the context is %s and %s needs integrity %s: text from outside may have shaped it; do it from a context that read none, or as the operator",
			e.show(f.q.Snapshot.Context), a.Kind, f.row.Needs)
	case "R3b":
		return fmt.Sprintf("an argument among %s is not of integrity %s, which %s needs: outside text must not choose it; give it from a trusted source",
			strings.Join(f.row.Control, ", "), f.row.Needs, a.Kind)
	case "R3c":
		return e.becauseSink(f)
	case "network.unlisted":
		if _, perRequest := e.NetworkLevel(f.agent.Profile, f.dest.host, f.dest.port, f.dest.program); perRequest && a.Kind == action.NetConnect {
			return fmt.Sprintf("the rules of profile %q for %s speak of methods or paths, which a plain connection has none of; speak HTTP to it, or run `sallyport grant %s %s %s --expires 1h`",
				f.agent.Profile, f.dest.where(), a.Agent, a.Kind, a.Target)
		}
		return fmt.Sprintf("no network rule of profile %q lists %s; to permit it, run `sallyport grant %s %s %s --expires 1h`, or add it under profiles.%s.network.allow",
			f.agent.Profile, f.dest.where(), a.Agent, a.Kind, grantTarget(a), f.agent.Profile)
	case "network.target":
		return fmt.Sprintf("the target %q is not what host, port, method and path say in their usual form, or the path can be read in two ways; use plain names and paths", a.Target)
	case "secrets.bound":
		return fmt.Sprintf("the secret %q may not go to %s from profile %q: it is bound to one exact host and port and to the profiles that name it (secrets.%s in sallyport.yaml)",
			a.Target, a.Arg("host"), f.agent.Profile, a.Target)
	case "security.dangerous_keywords", "security.suspicious_keywords", "security.detectors", "moderation", "security.unscanned_action",
		"security.dangerous_keywords.ask", "security.suspicious_keywords.ask", "security.detectors.ask", "moderation.ask", "security.unscanned_action.ask":
		if f.screen.Because != "" {
			return f.screen.Because + "; " + r.Because
		}
	case "security.blocked_commands":
		return fmt.Sprintf("the script runs what security.blocked_commands lists (%s); %s", strings.Join(f.command.Blocked, ", "),
			"remove the entry from sallyport.yaml to permit it")
	case "security.allowed_file_paths":
		return fmt.Sprintf("%q is not a clean absolute path below security.allowed_file_paths; add its directory there to permit it", a.Target)
	}
	if r.Because != "" {
		return r.Because
	}
	return r.Effect + " by " + r.Origin
}

// grantTarget gives the target that a grant for a destination has: all paths of
// a request's host.
func grantTarget(a *action.Action) string {
	if raw := a.Arg("path"); a.Kind == action.HTTPRequest && raw != "" {
		return "'" + strings.TrimSuffix(a.Target, raw) + "/*'"
	}
	return a.Target
}

func (e *Engine) becauseSink(f *facts) string {
	a := &f.q.Action
	args, conf := e.show(f.q.Args), e.conf(f.q.Args)
	by := f.sink.origin
	if a.Kind == action.ModelCall {
		name, _, _ := strings.Cut(a.Target, "/")
		return fmt.Sprintf("the context is %s and endpoint %q may receive only %s; set %s: %s in sallyport.yaml to send it there, or choose a local model in models:",
			args, name, e.conf(f.sink.clearance), cmp.Or(by, "endpoints."+name+".clearance"), conf)
	}
	if f.sink.others {
		return fmt.Sprintf("%s %q is listed for other agents, so for this one it is public, and the data is %s; send it where this agent may", a.Kind, a.Target, args)
	}
	if by == "" {
		return fmt.Sprintf("the data is %s and nothing clears %s %q for more than public; list it with clearance %s in sallyport.yaml",
			args, a.Kind, a.Target, conf)
	}
	return fmt.Sprintf("the data is %s and %s %q may receive only %s (%s); raise that to %s to permit it",
		args, a.Kind, a.Target, e.conf(f.sink.clearance), by, conf)
}

// becauseTaint says what reading would cost, before it does.
func (e *Engine) becauseTaint(f *facts) string {
	a := &f.q.Action
	before, after := f.q.Snapshot.Context, f.result
	return fmt.Sprintf("reading %q would raise the context from %s to %s for good%s; choose: `read --taint %s` reads it all the same, `spawn` lets a child read it, `extract` takes one answer out of it, `ask` asks the operator",
		a.Target, e.show(before), e.show(after), e.lost(f, before, after), plainRef(a.Target))
}

// plainRef gives a reference as it is typed, if it is one that can be.
func plainRef(ref string) string {
	if strings.ContainsFunc(ref, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("._/-", r)
	}) {
		return "REF"
	}
	return ref
}

// maxLost bounds the destinations that a sentence names.
const maxLost = 3

// lost names what a context can send to now and could no longer.
func (e *Engine) lost(f *facts, before, after label.Label) string {
	var names []string
	add := func(k action.Kind, target string, clearance label.Label, needs label.Integrity) {
		allows := func(l label.Label) bool { return l.ConfFlowsTo(clearance) && l.Integrity >= needs }
		if allows(before) && !allows(after) {
			names = append(names, fmt.Sprintf("%s %s", k, target))
		}
	}
	agent := f.q.Action.Agent
	for _, s := range e.settings.Sinks {
		if s.Kind == action.ModelCall && f.agent.Model != "" && s.Target != f.agent.Model {
			continue // it never calls that one
		}
		row, _ := action.RowOf(s.Kind)
		needs := row.Needs
		if s.Endorsed {
			needs = label.Foreign
		}
		if s.Kind != action.DataRead && (s.Agents == nil || slices.Contains(s.Agents, agent)) {
			add(s.Kind, s.Target, s.Clearance, max(needs, s.Floor))
		}
	}
	for _, r := range f.profile.Network {
		add(action.HTTPRequest, r.Host, r.Clearance, label.Foreign)
	}
	if len(names) == 0 {
		return ""
	}
	names = slices.Compact(names)
	more := ""
	if n := len(names) - maxLost; n > 0 {
		names, more = names[:maxLost], fmt.Sprintf(" and %d more", n)
	}
	return ", and then nothing could go to " + strings.Join(names, ", ") + more + " any more"
}

// origin names where a setting is, for a sentence.
func origin(of string) string { return cmp.Or(of, "sallyport.yaml") }

// list renders names for a sentence.
func list(names []string) string {
	if len(names) == 0 {
		return "nobody"
	}
	return strings.Join(names, ", ")
}

// confOf drops the integrity of a rendered label.
func confOf(l string) string {
	if i := strings.LastIndexByte(l, '/'); i >= 0 {
		return l[:i]
	}
	return l
}
