package policy

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/goccy/go-yaml"

	"sallyport/internal/action"
	"sallyport/internal/label"
	"sallyport/internal/principal"
	"sallyport/internal/record"
)

// Case is one expectation of a policy test file.
type Case struct {
	Name      string
	Action    string // a capability: "exec"
	Target    string
	Agent     string // empty: the operator's own action
	Operator  bool   // the operator acts in the agent's session
	Args      map[string]any
	Label     label.Label            // of the context; absent: public/signed
	Ceiling   *label.Label           // of the context; absent: the agent's
	Labels    map[string]label.Label // of arguments that came by reference
	Approvals map[string]int
	ReadOnly  bool
	Now       string // RFC 3339; absent: 2026-01-01T12:00:00Z
	Expect    string // allow, ask or deny
	Rule      string // must be among the deciding rules; empty = any
}

// CaseResult is how one case went.
type CaseResult struct {
	Case     Case
	Pass     bool
	Got      record.Decision
	Mismatch string // one sentence; empty when it passed
}

// maxCases and maxCaseFile (bytes) bound a test file.
const (
	maxCases    = 10_000
	maxCaseFile = 4 << 20
)

// ParseCases reads a list of cases from YAML or JSON; names are those that labels
// may be written with besides the shipped ones. Unknown keys, missing
// names and unknown verdicts are errors that carry the place.
func ParseCases(name string, data []byte, names label.Scheme) ([]Case, error) {
	raw, err := readYAML(data)
	if err != nil {
		return nil, fmt.Errorf("policy: %s: %w", name, err)
	}
	if len(raw) == 0 || len(raw) > maxCases {
		return nil, fmt.Errorf("policy: %s: %d cases; a file holds 1 to %d", name, len(raw), maxCases)
	}
	cases := make([]Case, len(raw))
	for i, r := range raw {
		c, err := r.parse(names)
		if err != nil {
			return nil, fmt.Errorf("policy: %s: case %d (%s): %w", name, i+1, r.Name, err)
		}
		cases[i] = c
	}
	return cases, nil
}

// readYAML turns a panic of the YAML library, which damaged input can cause,
// into an error.
func readYAML(data []byte) (raw []rawCase, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("not readable as YAML: %v", r)
		}
	}()
	if len(data) > maxCaseFile {
		return nil, fmt.Errorf("%d bytes; a file holds at most %d", len(data), maxCaseFile)
	}
	if err := yaml.UnmarshalWithOptions(data, &raw, yaml.Strict()); err != nil {
		return nil, errors.New(yaml.FormatError(err, false, true))
	}
	return raw, nil
}

// rawCase has the labels still as text, so that this room and not the YAML
// library reads them.
type rawCase struct {
	Name      string            `yaml:"name"`
	Action    string            `yaml:"action"`
	Target    string            `yaml:"target"`
	Agent     string            `yaml:"agent"`
	Operator  bool              `yaml:"operator"`
	Args      map[string]any    `yaml:"args"`
	Label     string            `yaml:"label"`
	Ceiling   string            `yaml:"ceiling"`
	Labels    map[string]string `yaml:"labels"`
	Approvals map[string]int    `yaml:"approvals"`
	ReadOnly  bool              `yaml:"read_only"`
	Now       string            `yaml:"now"`
	Expect    string            `yaml:"expect"`
	Rule      string            `yaml:"rule"`
}

func (r rawCase) parse(names label.Scheme) (Case, error) {
	c := Case{
		Name: r.Name, Action: r.Action, Target: r.Target, Agent: r.Agent, Operator: r.Operator, Label: label.Bottom,
		Approvals: r.Approvals, ReadOnly: r.ReadOnly, Now: r.Now, Expect: r.Expect, Rule: r.Rule,
	}
	var err error
	if r.Label != "" {
		if c.Label, err = names.Parse(r.Label); err != nil {
			return c, err
		}
	}
	if r.Ceiling != "" {
		l, err := names.Parse(r.Ceiling)
		if err != nil {
			return c, err
		}
		c.Ceiling = &l
	}
	for _, name := range slices.Sorted(maps.Keys(r.Labels)) {
		l, err := names.Parse(r.Labels[name])
		if err != nil {
			return c, fmt.Errorf("label of %q: %w", name, err)
		}
		if c.Labels == nil {
			c.Labels = map[string]label.Label{}
		}
		c.Labels[name] = l
	}
	args, err := plain(r.Args)
	if err != nil {
		return c, err
	}
	c.Args, _ = args.(map[string]any)
	if _, ok := action.RowOf(action.Kind(c.Action)); !ok {
		return c, fmt.Errorf("action %q is not a capability", c.Action)
	}
	if c.Expect != "allow" && c.Expect != "ask" && c.Expect != "deny" {
		return c, fmt.Errorf("expect %q is not allow, ask or deny", c.Expect)
	}
	if c.Now != "" {
		if _, err := time.Parse(time.RFC3339, c.Now); err != nil {
			return c, fmt.Errorf("now: %w", err)
		}
	}
	return c, nil
}

// plain turns what YAML gives into the types that actions carry.
func plain(v any) (any, error) {
	switch v := v.(type) {
	case nil, bool, string, float64, int64:
		return v, nil
	case int:
		return int64(v), nil
	case uint64:
		if v > 1<<53 {
			return nil, fmt.Errorf("integer %d is not exact in IEEE double", v)
		}
		return int64(v), nil
	case []any:
		out := make([]any, len(v))
		for i := range v {
			var err error
			if out[i], err = plain(v[i]); err != nil {
				return nil, err
			}
		}
		return out, nil
	case map[string]any:
		out := make(map[string]any, len(v))
		for k := range v {
			var err error
			if out[k], err = plain(v[k]); err != nil {
				return nil, err
			}
		}
		return out, nil
	}
	return nil, fmt.Errorf("argument of type %T is not a JSON value", v)
}

// Question builds the question a case asks.
func (e *Engine) Question(c Case) record.Question {
	now := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	if c.Now != "" {
		now, _ = time.Parse(time.RFC3339, c.Now)
	}
	q := record.Question{
		Action: action.Action{
			Kind: action.Kind(c.Action), Target: c.Target, Args: c.Args, ArgLabels: c.Labels,
			Agent: c.Agent, Session: "test", Context: "test", Principal: principal.ForAgent(c.Agent),
		},
		Snapshot:  record.Snapshot{Context: c.Label, Ceiling: e.settings.Agents[c.Agent].Ceiling, ReadOnly: c.ReadOnly},
		Args:      c.Label,
		Approvals: c.Approvals,
		Now:       now,
	}
	if c.Ceiling != nil {
		q.Snapshot.Ceiling = *c.Ceiling
	}
	for _, l := range c.Labels {
		q.Args = q.Args.Join(l)
	}
	if c.Agent == "" || c.Operator {
		q.Action.Principal = principal.TheOperator("operator")
	}
	return q
}

// RunCases decides every case and compares.
func (e *Engine) RunCases(cases []Case) []CaseResult {
	out := make([]CaseResult, len(cases))
	for i, c := range cases {
		d := e.Decide(e.Question(c))
		r := CaseResult{Case: c, Got: d, Pass: true}
		switch {
		case d.Verdict.String() != c.Expect:
			r.Mismatch = fmt.Sprintf("expected %s, got %s by %v: %s", c.Expect, d.Verdict, d.Rules, d.Because)
		case c.Rule != "" && !slices.Contains(d.Rules, c.Rule):
			r.Mismatch = fmt.Sprintf("%s as expected, but by %v instead of %s", d.Verdict, d.Rules, c.Rule)
		}
		r.Pass = r.Mismatch == ""
		out[i] = r
	}
	return out
}
