package app

import (
	"encoding/json"
	"io"
	"os"

	"sallyport/internal/action"
	"sallyport/internal/config"
	"sallyport/internal/fault"
	"sallyport/internal/policy"
	"sallyport/internal/record"
)

// Rule is one rule of the policy set in force.
type Rule struct {
	ID      string        `json:"id"`
	Origin  string        `json:"origin"` // the setting or file:line:column it comes from
	Effect  string        `json:"effect"` // permit, forbid or ask
	Kinds   []action.Kind `json:"kinds"`
	Because string        `json:"because"`
	Ask     string        `json:"ask,omitempty"`
	Text    string        `json:"text"` // Cedar
}

// PolicyView is the whole set.
type PolicyView struct {
	Digest string `json:"digest"` // identifies the set; approvals are bound to it
	Rules  []Rule `json:"rules"`
}

// engineFor builds the set for the agents of a file or directory; "" takes the
// configured ones.
func (a *App) engineFor(agentFile string) (*policy.Engine, error) {
	var agents []*config.Agent
	if agentFile != "" {
		var errs []error
		agents, errs = config.LoadAgents(agentFile, *a.Env)
		if len(errs) > 0 {
			return nil, errs[0]
		}
	}
	return a.Policy(agents...)
}

// Rules gives the policy set in force.
func (a *App) Rules(agentFile string) (PolicyView, error) {
	e, err := a.engineFor(agentFile)
	if err != nil {
		return PolicyView{}, err
	}
	out := PolicyView{Digest: e.SetDigest(), Rules: []Rule{}}
	for _, r := range e.Rules() {
		out.Rules = append(out.Rules, Rule{r.ID, r.Origin, r.Effect, r.Kinds, r.Because, r.Ask, r.Text})
	}
	return out, nil
}

// PolicyCase is how one case of a policy test went.
type PolicyCase struct {
	Name     string   `json:"name"`
	Pass     bool     `json:"pass"`
	Expect   string   `json:"expect"`
	Got      string   `json:"got"`
	Rules    []string `json:"rules"`
	Mismatch string   `json:"mismatch,omitempty"`
}

const maxCaseFile = 8 << 20

// TestPolicy decides every case of a file and compares.
func (a *App) TestPolicy(agentFile, file string) ([]PolicyCase, error) {
	const op = "app.policyTest"
	f, err := os.Open(file)
	if err != nil {
		return nil, notFound(op, file, err)
	}
	defer f.Close() //nolint:errcheck // read only
	data, err := io.ReadAll(io.LimitReader(f, maxCaseFile+1))
	if err != nil {
		return nil, fault.Wrap(op, fault.Unavailable, err)
	}
	if len(data) > maxCaseFile {
		return nil, fault.New(op, fault.Config, "%s is larger than 8 MiB; split it", file)
	}
	cases, err := policy.ParseCases(file, data, a.scheme())
	if err != nil {
		return nil, fault.Wrap(op, fault.Config, err)
	}
	e, err := a.engineFor(agentFile)
	if err != nil {
		return nil, err
	}
	out := []PolicyCase{}
	for _, r := range e.RunCases(cases) {
		out = append(out, PolicyCase{r.Case.Name, r.Pass, r.Case.Expect, r.Got.Verdict.String(), append([]string{}, r.Got.Rules...), r.Mismatch})
	}
	return out, nil
}

// PolicyQuestion is an action somebody asks about.
type PolicyQuestion struct {
	Kind, Target string
	Agent        string // "" is the operator
	Args         map[string]any
	Label        string // of the context
	Approvals    map[string]int
}

// ConsideredRule is one rule as seen by one question.
type ConsideredRule struct {
	ID      string `json:"id"`
	Origin  string `json:"origin"`
	Effect  string `json:"effect"`
	Matched bool   `json:"matched"`
	Failing string `json:"failing,omitempty"` // the first condition that kept it from matching
	Error   string `json:"error,omitempty"`
	Because string `json:"because,omitempty"`
}

// PolicyAnswer is a decision with what led to it.
type PolicyAnswer struct {
	Verdict    string           `json:"verdict"`
	Rules      []string         `json:"rules"`
	Because    string           `json:"because"`
	Remedy     string           `json:"remedy,omitempty"`
	Label      string           `json:"result_label"`
	Advice     []record.Finding `json:"advice"`
	Nearest    *ConsideredRule  `json:"nearest,omitempty"`
	Considered []ConsideredRule `json:"considered"`
	Request    json.RawMessage  `json:"request,omitempty"`
}

// Explain decides a question without doing or recording anything.
func (a *App) Explain(agentFile string, q PolicyQuestion) (PolicyAnswer, error) {
	const op = "app.explain"
	if _, ok := action.RowOf(action.Kind(q.Kind)); !ok {
		return PolicyAnswer{}, fault.New(op, fault.Usage, "%q is not a capability; `sallyport policy show --json` lists the kinds", q.Kind)
	}
	l, err := a.Config.Scheme().Parse(q.Label)
	if err != nil {
		return PolicyAnswer{}, fault.New(op, fault.Usage, "--label: %v", err)
	}
	e, err := a.engineFor(agentFile)
	if err != nil {
		return PolicyAnswer{}, err
	}
	x := e.Explain(e.Question(policy.Case{
		Action: q.Kind, Target: q.Target, Agent: q.Agent, Args: q.Args, Label: l, Approvals: q.Approvals,
	}))
	d := x.Decision
	out := PolicyAnswer{
		Verdict: d.Verdict.String(), Rules: append([]string{}, d.Rules...), Because: d.Because, Remedy: x.Remedy,
		Label: d.ResultLabel.String(), Advice: append([]record.Finding{}, d.Advice...), Considered: []ConsideredRule{},
	}
	for _, c := range x.Considered {
		out.Considered = append(out.Considered, consideredOf(c))
	}
	if x.Nearest != nil {
		n := consideredOf(*x.Nearest)
		out.Nearest = &n
	}
	if json.Valid([]byte(x.Request)) {
		out.Request = json.RawMessage(x.Request)
	}
	return out, nil
}

func consideredOf(c policy.Considered) ConsideredRule {
	return ConsideredRule{ID: c.ID, Origin: c.Origin, Effect: c.Effect, Matched: c.Matched, Failing: c.Failing, Error: c.Error, Because: c.Because}
}
