package policy

import (
	"fmt"
	"strings"

	"sallyport/internal/action"
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
			a.Kind, a.Target, f.result, a.Agent, f.agent.Clearance, a.Agent, confOf(f.result.String()))
	case "R1b":
		return fmt.Sprintf("the result is %s and would lift the context above its ceiling %s; start the agent with a higher ceiling, or use another agent for it",
			f.result, f.q.Snapshot.Ceiling)
	case "R3a":
		return fmt.Sprintf("the context is %s and %s needs integrity %s: text from outside may have shaped it; do it from a context that read none, or as the operator",
			f.q.Snapshot.Context, a.Kind, f.row.Needs)
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
	case "R6":
		return fmt.Sprintf("agent %q is not configured or its ceiling is below %q; run it from its agent file or lower the ceiling", a.Target, a.Arg("ceiling"))
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
	conf := confOf(f.q.Args.String())
	origin := f.sink.origin
	if a.Kind == action.ModelCall {
		name, _, _ := strings.Cut(a.Target, "/")
		if origin == "" {
			origin = "endpoints." + name + ".clearance"
		}
		return fmt.Sprintf("the context is %s and endpoint %q may receive only %s; set %s: %s in sallyport.yaml to send it there, or choose a local model in models:",
			f.q.Args, name, confOf(f.sink.clearance.String()), origin, conf)
	}
	if origin == "" {
		return fmt.Sprintf("the data is %s and nothing clears %s %q for more than public; list it with clearance %s in sallyport.yaml",
			f.q.Args, a.Kind, a.Target, conf)
	}
	return fmt.Sprintf("the data is %s and %s %q may receive only %s (%s); raise that to %s to permit it",
		f.q.Args, a.Kind, a.Target, confOf(f.sink.clearance.String()), origin, conf)
}

// confOf drops the integrity of a rendered label.
func confOf(l string) string {
	if i := strings.LastIndexByte(l, '/'); i >= 0 {
		return l[:i]
	}
	return l
}
