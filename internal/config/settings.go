package config

import (
	"fmt"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"sallyport/internal/fault"
)

// Agent gives an agent's settings; without any, the workspace profile and
// clearance public.
func (c *Config) Agent(username string) AgentSettings {
	s := c.Agents[username]
	if s.Profile == "" {
		s.Profile = "workspace"
	}
	if s.Clearance == "" {
		s.Clearance = "public"
	}
	return s
}

// ExecEnabled says whether the shell tool exists under a profile, and which
// setting decided, as a key and its value.
func (c *Config) ExecEnabled(profile string) (enabled bool, because string) {
	if c.ReadOnlyMode {
		return false, "readOnlyMode: true"
	}
	if p := c.Profiles[profile].EnableCommandExecution; p != nil {
		return *p, fmt.Sprintf("profiles.%s.enable_command_execution: %v", profile, *p)
	}
	return c.Security.EnableCommandExecution, fmt.Sprintf("security.enable_command_execution: %v", c.Security.EnableCommandExecution)
}

// Protection gives the command protection of an agent: the stricter of the
// agent file's and the operator's. manual is stricter than auto, auto than none.
func (c *Config) Protection(a *Agent) string {
	order := []string{"none", "auto", "manual"}
	mine, theirs := c.Agents[a.Username].CommandProtection, a.CommandProtection
	return order[max(0, slices.Index(order, mine), slices.Index(order, theirs))]
}

// Problems lists unsafe combinations, each an error of kind fault.Config. With
// production set it also lists what is acceptable only while trying things out.
func (c *Config) Problems(production bool) []error {
	var out []error
	add := func(key, format string, args ...any) {
		out = append(out, fault.New("config."+key, fault.Config, "%s: %s", key, fmt.Sprintf(format, args...)))
	}
	for i, a := range c.Log.Anchor {
		if a.Webhook != "" && plainRemote(a.Webhook) {
			add(fmt.Sprintf("log.anchor[%d].webhook", i), "sends checkpoints over http to another machine, where they can be changed; use https")
		}
	}
	for _, name := range sortedKeys(c.Models) {
		m := c.Models[name]
		if m.KeyEnv != "" && m.BaseURL != "" && plainRemote(m.BaseURL) {
			add("models."+name+".base_url", "sends the key in %s over http to another machine; use https", m.KeyEnv)
		}
	}
	for _, p := range c.Security.AllowedFilePaths {
		if strings.Trim(p, "/.") == "" {
			add("security.allowed_file_paths", "contains the whole disk (%s); name the directories that are meant", p)
		}
	}
	c.networkProblems(add)
	c.monitorProblems(add)
	if production {
		c.productionProblems(add)
	}
	return out
}

func (c *Config) productionProblems(add func(key, format string, args ...any)) {
	if c.othersWrite {
		add("file", "%s can be written by other users; chmod go-w it", c.Path)
	}
	if c.Security.EnableCommandExecution {
		add("security.enable_command_execution", "gives every profile a shell; set it in the profile that needs it")
	}
	if len(c.Security.BlockedCommands) == 0 {
		add("security.blocked_commands", "is empty; keep the default list")
	}
	if len(c.Log.Anchor) == 0 {
		add("log.anchor", "is empty, so whoever owns this host can rewrite the log unseen; name a place elsewhere")
	}
	for _, name := range sortedKeys(c.Profiles) {
		if c.Profiles[name].RequiredTier != "full" {
			add("profiles."+name+".required_tier", "accepts a weaker sandbox; use full")
		}
	}
	for _, name := range sortedKeys(c.Models) {
		if m := c.Models[name]; m.BaseURL != "" && plainRemote(m.BaseURL) {
			add("models."+name+".base_url", "sends prompts over http to another machine; use https")
		}
	}
	if c.SpendLimitDollars == nil {
		add("spendLimitDollars", "is not set, so nothing bounds what all agents together spend; set it")
	}
}

// plainRemote reports an http address that is not on this machine; one that is
// not yet expanded is judged by its visible scheme only.
func plainRemote(raw string) bool {
	u, err := url.Parse(raw)
	if err != nil || u.Scheme != "http" {
		return false
	}
	addr, err := netip.ParseAddr(u.Hostname())
	return err != nil && u.Hostname() != "localhost" || err == nil && !addr.Unmap().IsLoopback()
}

var username = regexp.MustCompile(userRE)

// ValidUsername tells whether a name can be an agent's.
func ValidUsername(name string) bool { return username.MatchString(name) }

// unknown is the error for a name that stands under no entry of a key.
func (c *Config) unknown(key, what, name string, known []string) error {
	remedy := "add it under " + key + ":, or use one of " + strings.Join(known, ", ")
	if near := nearest(name, known); near != "" {
		remedy = "did you mean " + near + "? Otherwise " + remedy
	}
	return &Error{Pos: Position{File: c.Path}, Key: key, Problem: fmt.Sprintf("no %s is called %q", what, short(name)), Remedy: remedy}
}
