package cli

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"sallyport/internal/action"
	"sallyport/internal/app"
	"sallyport/internal/fault"
)

// policyCmd groups what concerns the rules.
type policyCmd struct {
	Show    policyShowCmd    `cmd:"" help:"Show the whole set with the origin of each rule."`
	Test    policyTestCmd    `cmd:"" help:"Decide the cases of a file and compare."`
	Explain policyExplainCmd `cmd:"" help:"Say how one action would be decided, and why."`
}

// Help teaches.
func (policyCmd) Help() string {
	return `The rules are Cedar: those the settings compile to, then the files of policy:.
Deny beats ask beats allow; what no rule permits is denied. Examples:
  sallyport policy show examples/nightwatch.yaml
  sallyport policy explain exec --agent sarah --arg script='rm -rf /'
  sallyport policy test cases.yaml`
}

// policyShowCmd is `sallyport policy show`.
type policyShowCmd struct {
	AgentFile string `arg:"" optional:"" help:"An agent file, or a directory of them, whose run is meant."`
	Kind      string `help:"Only rules that can match this kind of action."`
	Cedar     bool   `help:"Write the rules as Cedar text."`
}

// Run shows the set.
func (p policyShowCmd) Run(c *call) error {
	var set app.PolicyView
	if err := c.withAgent(p.AgentFile, func(a *app.App) (err error) {
		set, err = a.Rules(p.AgentFile)
		return err
	}); err != nil {
		return err
	}
	if p.Kind != "" {
		set.Rules = slices.DeleteFunc(set.Rules, func(r app.Rule) bool { return !slices.Contains(r.Kinds, action.Kind(p.Kind)) })
	}
	switch {
	case c.flags.JSON:
		return c.json(set)
	case p.Cedar:
		for _, r := range set.Rules {
			c.printf("// %s\n%s\n\n", visible(r.Origin), visibleLines(strings.TrimSpace(r.Text)))
		}
		return nil
	}
	t := table{cols: []column{{title: "EFFECT"}, {title: "RULE"}, {title: "ORIGIN", flex: true}, {title: "BECAUSE", flex: true}}}
	for _, r := range set.Rules {
		t.add(cell{text: r.Effect, color: c.effect(r.Effect)}, plain(r.ID), plain(r.Origin), plain(oneLine(r.Because)))
	}
	t.print(c)
	c.printf("\n%s, set %s; --cedar shows their text\n", plural(len(set.Rules), "rule", "rules"), cut(set.Digest, 13))
	return nil
}

func (c *call) effect(s string) func(string) string {
	switch s {
	case "forbid":
		return c.paint.red
	case "ask":
		return c.paint.yellow
	}
	return c.paint.green
}

// policyTestCmd is `sallyport policy test`.
type policyTestCmd struct {
	File      string `arg:"" name:"cases" help:"YAML or JSON: a list of {name, action, agent, target, args, label, expect, rule}."`
	AgentFile string `placeholder:"FILE" help:"An agent file, or a directory of them, whose run is meant."`
}

// Help teaches.
func (policyTestCmd) Help() string {
	return `Ends with 4 when a case is decided otherwise. A case:
  - name: no deletion
    action: exec
    agent: sarah
    args: {script: rm -rf /}
    expect: deny
Example:
  sallyport policy test cases.yaml --agent-file examples/nightwatch.yaml`
}

// Run tests.
func (p policyTestCmd) Run(c *call) error {
	var cases []app.PolicyCase
	if err := c.withAgent(p.AgentFile, func(a *app.App) (err error) {
		cases, err = a.TestPolicy(p.AgentFile, p.File)
		return err
	}); err != nil {
		return err
	}
	failed := 0
	for _, x := range cases {
		if !x.Pass {
			failed++
		}
	}
	if c.flags.JSON {
		if err := c.json(map[string]any{"ok": failed == 0, "cases": cases}); err != nil {
			return err
		}
	} else {
		for _, x := range cases {
			if x.Pass {
				c.printf("%s    %s\n", c.paint.green("ok"), visible(x.Name))
				continue
			}
			c.printf("%s  %s: %s\n", c.paint.red("FAIL"), visible(x.Name), visible(x.Mismatch))
		}
	}
	if failed > 0 {
		return fault.New("policy.test", fault.Denied, "%s of %d decided otherwise than expected; `sallyport policy explain` says why", plural(failed, "case", "cases"), len(cases))
	}
	return nil
}

// policyExplainCmd is `sallyport policy explain`.
type policyExplainCmd struct {
	Kind      string            `arg:"" help:"The kind of action: exec, model.call, session.start …"`
	Target    string            `help:"What it acts on."`
	Agent     string            `help:"Who wants it; default: the operator."`
	Arg       map[string]string `placeholder:"NAME=VALUE" mapsep:"none" help:"An argument; the value may be JSON. May be repeated."`
	Label     string            `default:"public/member" help:"The label of the context."`
	Approvals map[string]int    `placeholder:"GROUP=N" help:"Verified approvals to assume, such as owner=1."`
	AgentFile string            `placeholder:"FILE" help:"An agent file, or a directory of them, whose run is meant."`
	All       bool              `help:"Show every rule that was considered."`
}

// Help teaches.
func (policyExplainCmd) Help() string {
	return `Nothing is done or recorded. Ends with 0 whatever the decision. Examples:
  sallyport policy explain exec --agent sarah --arg script='ls -l' --label internal/foreign
  sallyport policy explain model.call --agent sarah --target anthropic/claude-3-opus-20240229 --label internal`
}

// Run explains.
func (p policyExplainCmd) Run(c *call) error {
	args := map[string]any{}
	for k, v := range p.Arg {
		args[k] = jsonOrText(v)
	}
	q := app.PolicyQuestion{Kind: p.Kind, Target: p.Target, Agent: p.Agent, Args: args, Label: p.Label, Approvals: p.Approvals}
	var ans app.PolicyAnswer
	var result string // its label, by the configured names
	if err := c.withAgent(p.AgentFile, func(a *app.App) (err error) {
		ans, err = a.Explain(p.AgentFile, q)
		result = a.ShowLabel(ans.Label)
		return err
	}); err != nil {
		return err
	}
	if c.flags.JSON {
		return c.json(ans)
	}
	c.printf("%s by %s\n%s\n", c.paint.alert(ans.Verdict), visible(strings.Join(ans.Rules, ", ")), visible(ans.Because))
	if ans.Remedy != "" && ans.Remedy != ans.Because {
		c.printf("remedy: %s\n", visible(ans.Remedy))
	}
	if ans.Nearest != nil {
		c.printf("nearest permit: %s (%s), which needs %s\n", visible(ans.Nearest.ID), visible(ans.Nearest.Origin), visible(ans.Nearest.Failing))
	}
	for _, f := range ans.Advice {
		c.printf("advice: %s: %s\n", visible(f.Rule), visible(f.Detail))
	}
	c.printf("result's label: %s\n", result)
	c.considered(ans.Considered, p.All)
	return nil
}

func (c *call) considered(list []app.ConsideredRule, all bool) {
	t := table{cols: []column{{title: "MATCHED"}, {title: "EFFECT"}, {title: "RULE"}, {title: "ORIGIN", flex: true}, {title: "WHY NOT", flex: true}}}
	for _, r := range list {
		if !r.Matched && !all {
			continue
		}
		yes := "no"
		if r.Matched {
			yes = "yes"
		}
		t.add(plain(yes), cell{text: r.Effect, color: c.effect(r.Effect)}, plain(r.ID), plain(r.Origin), plain(oneLine(r.Failing+r.Error)))
	}
	c.printf("\n")
	if len(t.rows) > 0 {
		t.print(c)
	}
	if !all {
		c.printf("%s considered; --all shows those that did not match\n", plural(len(list), "rule", "rules"))
	}
}

// jsonOrText takes a value as JSON when it is an object, a list, a number or a
// boolean, else as the text it is.
func jsonOrText(s string) any {
	d := json.NewDecoder(strings.NewReader(s))
	var v any
	if err := d.Decode(&v); err != nil || d.More() {
		return s
	}
	switch v := v.(type) {
	case map[string]any, []any, float64, bool:
		return v
	}
	return fmt.Sprint(s)
}
