package cli

import (
	"errors"
	"fmt"

	"sallyport/internal/app"
	"sallyport/internal/config"
	"sallyport/internal/fault"
)

// configCmd groups what concerns sallyport.yaml and agent files.
type configCmd struct {
	Check    configCheckCmd    `cmd:"" help:"Check the configuration and agent files."`
	Schema   configSchemaCmd   `cmd:"" help:"Write the JSON Schema of a file."`
	Show     configShowCmd     `cmd:"" help:"Show the settings in force, defaults included."`
	Profiles configProfilesCmd `cmd:"" help:"List profiles, or show what one shows, keeps and reaches, and why."`
}

// configCheckCmd is `sallyport config check`.
type configCheckCmd struct {
	Files      []string `arg:"" optional:"" name:"agent-file" help:"Agent files, or directories of them, to check too."`
	Production bool     `help:"Also refuse what is fine only while trying things out."`
}

// Help teaches.
func (configCheckCmd) Help() string {
	return `Every mistake is shown with file:line:column, the line and what to do. Examples:
  sallyport config check
  sallyport config check examples/nightwatch.yaml
  sallyport config check --production --config /etc/sallyport.yaml`
}

// checkResult is the JSON form of a check that passed.
type checkResult struct {
	OK      bool         `json:"ok"`
	Config  string       `json:"config"`
	Agents  []checkAgent `json:"agents"`
	Notices []string     `json:"notices"`
}

type checkAgent struct {
	File     string `json:"file"`
	Username string `json:"username"`
	Model    string `json:"model"`
	Profile  string `json:"profile"`
}

// Run checks and says what would be used.
func (k configCheckCmd) Run(c *call) error {
	first := ""
	for _, f := range k.Files {
		if config.IsConfigName(f) {
			return fault.New("config.check", fault.Usage, "%s is a configuration, not an agent file; check it with `sallyport config check --config %s`", f, f)
		}
	}
	if len(k.Files) > 0 {
		first = k.Files[0]
	}
	a, err := c.open(first, false)
	if err != nil {
		return err
	}
	res := checkResult{OK: true, Config: a.Config.Path, Agents: []checkAgent{}, Notices: append([]string{}, a.Notices...)}
	errs := a.Config.Problems(k.Production)
	for _, err := range a.MonitorProblems() {
		if errors.Is(err, app.ErrUnset) {
			msg, _ := explain(err)
			res.Notices = append(res.Notices, msg)
			continue
		}
		errs = append(errs, err)
	}
	for _, f := range k.Files {
		agents, bad := config.LoadAgents(f, *a.Env)
		errs = append(errs, bad...)
		for _, ag := range agents {
			if _, err := a.Config.ResolveModel(ag.ShellModel); err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", ag.Path, err))
			}
			res.Notices = append(res.Notices, ag.Notices...)
			res.Agents = append(res.Agents, checkAgent{ag.Path, ag.Username, ag.ShellModel, a.Config.Agent(ag.Username).Profile})
		}
	}
	if err := errors.Join(append(errs, a.Close())...); err != nil {
		return problems(err, errs)
	}
	if c.flags.JSON {
		return c.json(res)
	}
	c.printf("%s: %s\n", visible(nameOf(res.Config)), c.paint.green("ok"))
	for _, ag := range res.Agents {
		c.printf("%s: %s (agent %s, model %s, profile %s)\n", visible(ag.File), c.paint.green("ok"), visible(ag.Username), visible(ag.Model), ag.Profile)
	}
	for _, n := range res.Notices {
		c.printf("note: %s\n", visible(n))
	}
	return nil
}

// problems makes one error of several, each on its own lines.
func problems(all error, errs []error) error {
	text := ""
	for _, e := range errs {
		msg, _ := explain(e)
		if text != "" {
			text += "\n"
		}
		text += msg
	}
	if text == "" {
		return all
	}
	return fault.New("config.check", fault.Config, "%s", text)
}

func nameOf(path string) string {
	if path == "" {
		return "built-in defaults (no sallyport.yaml was found; `sallyport init` writes one)"
	}
	return path
}

// configSchemaCmd is `sallyport config schema`.
type configSchemaCmd struct {
	Which string `arg:"" optional:"" default:"config" enum:"config,agent,profile" help:"config (sallyport.yaml), agent (an agent file) or profile (a file of profiles/ in the state directory)."`
}

// Help teaches.
func (configSchemaCmd) Help() string {
	return "For editors that complete and check while you type. Example:\n  sallyport config schema agent > agent.schema.json"
}

// Run writes the schema.
func (s configSchemaCmd) Run(c *call) error {
	b, err := config.Schema(s.Which)
	if err != nil {
		return err
	}
	c.printf("%s", b)
	return nil
}

// configShowCmd is `sallyport config show`.
type configShowCmd struct {
	AgentFile string `arg:"" optional:"" help:"Show what a run of this agent file would use."`
}

// Help teaches.
func (configShowCmd) Help() string {
	return `The settings in force as JSON, which is also a valid configuration file. Examples:
  sallyport config show
  sallyport config show examples/nightwatch.yaml`
}

// shownConfig is the JSON form of `config show --json`.
type shownConfig struct {
	Paths    app.Paths      `json:"paths"`
	Settings *config.Config `json:"settings"`
}

// Run shows where the settings come from and what they are.
func (s configShowCmd) Run(c *call) error {
	return c.withAgent(s.AgentFile, func(a *app.App) error {
		if c.flags.JSON {
			return c.json(shownConfig{a.Paths, a.Config})
		}
		named, err := a.Config.Named()
		if err != nil {
			return err
		}
		c.printf("// from %s\n", visible(nameOf(a.Config.Path)))
		return c.json(named)
	})
}
