package app

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"sallyport/internal/action"
	"sallyport/internal/label"
	"sallyport/internal/policy"
	"sallyport/internal/record"
)

// Remedy is one thing that would have allowed an action.
type Remedy struct {
	// How is approval, grant, setting, policy, label, again, nothing or unknown.
	How     string `json:"how"`
	Text    string `json:"text"`              // one sentence
	Key     string `json:"key,omitempty"`     // of a setting
	File    string `json:"file,omitempty"`    // where it is written
	Command string `json:"command,omitempty"` // that does it
	Tried   bool   `json:"tried"`             // today's rules were asked, and it does
}

// ownRules are rules that no policy set holds: the gate and the ledger apply
// them. The sentence is what they mean, and what helps.
var ownRules = map[string]string{
	"default":           "what no rule permits is denied",
	"stopped":           "somebody stopped the agent; starting it anew ends that",
	"ask.unanswered":    "the question was put to people and nobody's yes came in time; when it is tried again they are asked again",
	"ask.denied":        "somebody said no; when it is tried again they are asked again",
	"approval.expired":  "the approval had expired; when it is tried again people are asked again",
	"approval.used":     "an approval is good for one action and was used before; when it is tried again people are asked again",
	"grant.spent":       "the grant had ended or was used up; give another",
	"key.ended":         "the API key does not count any more; make another with `sallyport keys create`",
	"context.exists":    "a context is made once and its label only rises; choose another name",
	"budget":            "the agents' money does not suffice; raise spendLimitDollars",
	"budget.key":        "the key's money does not suffice; make a key with a higher limit",
	"budget.day":        "the day's money does not suffice; wait for the next day or raise the limit",
	"budget.unknown":    "what it would cost is not known, so no limit can hold it",
	"spawn.labels":      "the labels of the new context cannot be read or do not fit each other",
	"kind.unknown":      "this is no capability",
	"kind.absent":       "nothing there performed this kind of action",
	"policy.error":      "a rule or the question could not be evaluated, so nothing was permitted",
	"instruction.taken": "a signed instruction is carried out once; sign another",
}

// again are the rules after which the same action may simply be tried anew.
var tryAgain = []string{"ask.unanswered", "ask.denied", "approval.expired", "approval.used", "stopped", "budget.day"}

// never are the rules that nothing but another action gets around.
var never = []string{"kind.unknown", "kind.absent", "network.target", "context.exists", "spawn.labels", "instruction.taken", "R9", "R10"}

// ruleSettings names the setting that a rule compares with; {agent} and
// {target} are put in.
var ruleSettings = map[string]string{
	"R1a":              "agents.{agent}.clearance",
	"R1b":              "agents.{agent}.clearance",
	"R6":               "agents.{target}.clearance",
	"agent.unknown":    "agents.{agent}",
	"network.unlisted": "profiles.{profile}.network.allow",
	"secrets.bound":    "secrets.{target}",
	"budget":           "spendLimitDollars",

	"commandProtection.manual": "agents.{agent}.commandProtection",
	"commandProtection.auto":   "agents.{agent}.commandProtection",
}

// remedies says what would have allowed a denied action. What can be tried is
// tried on today's rules; engine and q are nil when those cannot be read.
func (x *explainer) remedies(ctx context.Context, engine *policy.Engine, q *record.Question, s stored, rules []ExplainedRule, out *ExplainedDecision) {
	if out.Verdict == record.Allow.String() {
		return
	}
	add := func(r Remedy) { out.Remedies = append(out.Remedies, r) }
	if engine != nil {
		x.tryPeople(ctx, engine, *q, out, add)
		x.tryLabels(engine, *q, add)
	}
	for _, r := range rules {
		if key := x.settingOf(r, s, out); key != "" {
			add(Remedy{How: "setting", Text: fmt.Sprintf("%s: the setting %s decides that", r.ID, key), Key: key, File: x.configFile()})
			continue
		}
		if file := policyFile(r.Origin); file != "" {
			add(Remedy{How: "policy", Text: fmt.Sprintf("the rule %s stands at %s; change it there", r.ID, r.Origin), Key: r.ID, File: file})
		}
		if slices.Contains(tryAgain, r.ID) {
			add(Remedy{How: "again", Text: ownRules[r.ID]})
		}
	}
	if r := out.Now.Nearest; r != nil {
		add(Remedy{How: "policy", Text: fmt.Sprintf("no rule permits it; the nearest, %s (%s), needs %s", r.ID, r.Origin, r.Failing), Key: r.ID})
	}
	if engine != nil && out.Now.Verdict == record.Allow.String() && !out.Now.SameSet {
		add(Remedy{How: "again", Text: "today's rules allow it: let it be tried again", Tried: true})
	}
	if len(out.Remedies) == 0 {
		text := "nothing allows exactly this action"
		if len(s.rules) > 0 && !slices.Contains(never, s.rules[0]) {
			text = "no approval, grant or setting that is known allows exactly this action; the rule's sentence says what to do instead"
		}
		if !slices.Contains(s.rules, unknownAgent) && slices.Contains(out.Now.Rules, unknownAgent) {
			add(Remedy{How: "unknown", Text: "today's rules were read without the agent, so nothing could be tried; add its file with --agent-file"})
			return
		}
		add(Remedy{How: "nothing", Text: text})
	}
}

// tryPeople asks today's rules whether approvals, or a standing permission of
// the owner's, would do.
func (x *explainer) tryPeople(ctx context.Context, engine *policy.Engine, q record.Question, out *ExplainedDecision, add func(Remedy)) {
	q.Approvals = nil
	first := engine.Decide(q)
	if first.Verdict != record.Ask {
		return
	}
	if len(out.Needs) == 0 {
		for _, n := range first.Needs {
			out.Needs = append(out.Needs, ExplainedNeed{Count: n.Count, Group: n.Group})
		}
	}
	x.members(ctx, out.Needs)
	q.Approvals = map[string]int{}
	for _, n := range first.Needs {
		q.Approvals[n.Group] = n.Count
	}
	r := Remedy{How: "approval", Text: "approval by " + needText(out.Needs), Tried: engine.Decide(q).Verdict == record.Allow}
	if out.Ask != nil && out.Ask.State == record.AskOpen {
		r.Command = "sallyport approve " + out.Ask.ID
		r.Text += "; let it be tried again after that"
	} else {
		r.Text += "; when it is tried again they are asked again"
	}
	add(r)
	q.Approvals = nil
	q.Snapshot.Grants = append(slices.Clip(q.Snapshot.Grants), record.Grant{
		ID: "tried", Agent: q.Action.Agent, Kind: q.Action.Kind, Target: q.Action.Target, Expires: q.Now.Add(time.Hour),
	})
	// A target that ends in * would make a wider grant than was asked for.
	if q.Action.Agent != "" && !strings.HasSuffix(q.Action.Target, "*") && engine.Decide(q).Verdict == record.Allow {
		add(Remedy{
			How: "grant", Tried: true,
			Text:    fmt.Sprintf("a standing permission of the owner's, which is for every %s of this agent on this target, not for this one only", q.Action.Kind),
			Command: fmt.Sprintf("sallyport grant %s %s %s --expires 1h", shellWord(q.Action.Agent), q.Action.Kind, shellWord(q.Action.Target)),
		})
	}
}

// needText names whose yes is needed.
func needText(needs []ExplainedNeed) string {
	parts := make([]string, len(needs))
	for i, n := range needs {
		parts[i] = fmt.Sprintf("%d of %s", n.Count, n.Group)
		if len(n.People) > 0 {
			parts[i] += " (" + strings.Join(n.People, ", ") + ")"
		}
	}
	return strings.Join(parts, " and ")
}

// tryLabels asks today's rules whether the labels are what stands in the way.
func (x *explainer) tryLabels(engine *policy.Engine, q record.Question, add func(Remedy)) {
	if engine.Decide(q).Verdict == record.Allow {
		return
	}
	clean := q
	clean.Snapshot.Context, clean.Args, clean.Action.ArgLabels = label.Bottom, label.Bottom, nil
	if v := engine.Decide(clean).Verdict; v == record.Allow || v == record.Ask && engine.Decide(q).Verdict == record.Deny {
		add(Remedy{
			How: "label", Tried: true,
			Text: fmt.Sprintf("a context that has read less: this one was %s with what it named, and one that is %s would be answered with %s", x.app.scheme().Format(q.Args), x.app.scheme().Format(label.Bottom), v),
		})
	}
	if q.Action.Arg("taint") == "" && q.Action.Kind == action.DataRead {
		tainted := q
		tainted.Action.Args = maps.Clone(q.Action.Args)
		tainted.Action.Args["taint"] = "yes"
		if engine.Decide(tainted).Verdict == record.Allow {
			add(Remedy{How: "label", Tried: true, Text: "reading it with the taint accepted (`read --taint`), which raises the context's label for good"})
		}
	}
}

// settingOf gives the key of the setting behind a rule.
func (x *explainer) settingOf(r ExplainedRule, s stored, out *ExplainedDecision) string {
	if r.ID == "R3c" {
		if strings.Contains(out.Labels.SinkFrom, " ") { // a label of the agent's own, not a destination's
			return "agents." + s.row.Agent + ".clearance"
		}
		if endpoint, _, ok := strings.Cut(s.target, "/"); ok && out.Labels.SinkFrom == "" && s.kind == action.ModelCall {
			return "endpoints." + endpoint + ".clearance"
		}
		return out.Labels.SinkFrom
	}
	if key, ok := ruleSettings[r.ID]; ok {
		profile := x.app.Config.Agent(s.row.Agent).Profile
		return strings.NewReplacer("{agent}", s.row.Agent, "{target}", s.target, "{profile}", profile).Replace(key)
	}
	if strings.HasSuffix(r.Origin, "(sallyport.yaml)") || strings.HasSuffix(r.Origin, "sallyport.yaml)") {
		return strings.TrimSuffix(r.ID, ".ask")
	}
	return ""
}

// configFile is where settings are, or would be, written.
func (x *explainer) configFile() string {
	if x.app.Paths.Config != "" {
		return x.app.Paths.Config
	}
	return filepath.Join(x.app.Paths.Home, "sallyport.yaml")
}

// policyFile gives the file of an origin that is file:line:column.
func policyFile(origin string) string {
	parts := strings.Split(origin, ":")
	if len(parts) < 3 || strings.HasPrefix(origin, "built in") {
		return ""
	}
	for _, n := range parts[len(parts)-2:] {
		if n == "" || strings.Trim(n, "0123456789") != "" {
			return ""
		}
	}
	return strings.Join(parts[:len(parts)-2], ":")
}

// shellWord quotes what a shell would not take as one word.
func shellWord(s string) string {
	const plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./:@%+=,"
	if s != "" && strings.Trim(s, plain) == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
