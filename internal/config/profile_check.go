package config

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// shippedSecrets are the keys of the providers whose programs have a profile.
// Each goes to its provider's own host and nowhere else.
func shippedSecrets() map[string]Secret {
	env := func(name string) SecretSource { return SecretSource{Env: name} }
	return map[string]Secret{
		"anthropic": {
			From: env("ANTHROPIC_API_KEY"), Host: "api.anthropic.com", Inject: []Injection{{Header: "X-Api-Key"}},
			Placeholder: "sk-ant-api03-{random}", Env: "ANTHROPIC_API_KEY", Optional: true, Why: "the model's key",
		},
		"openai": {
			From: env("OPENAI_API_KEY"), Host: "api.openai.com", Inject: []Injection{{Header: "Authorization", Template: "Bearer {}"}},
			Placeholder: "sk-proj-{random}", Env: "OPENAI_API_KEY", Optional: true, Why: "the model's key",
		},
		"gemini": {
			From: env("GEMINI_API_KEY"), Host: "generativelanguage.googleapis.com", Inject: []Injection{{Header: "X-Goog-Api-Key"}},
			Placeholder: "AIza{random}", Env: "GEMINI_API_KEY", Optional: true, Why: "the model's key",
		},
	}
}

// checkProfile checks what only a whole profile shows.
func (c *Config) checkProfile(raw *rawProfile, p *Profile) Errors {
	var errs Errors
	add := func(key, problem, remedy string) { errs = append(errs, raw.fail(key, problem, remedy)) }
	shownBy := map[string]string{} // variable → secret
	for _, name := range p.Secrets {
		s, ok := c.Secrets[name]
		if !ok {
			known := sortedKeys(c.Secrets)
			remedy := "add it at the top level under secrets:, or use one of " + strings.Join(known, ", ")
			if near := nearest(name, known); near != "" {
				remedy = "did you mean " + near + "?"
			}
			add("secrets", fmt.Sprintf("there is no secret %q", short(name)), remedy)
			continue
		}
		if other := shownBy[s.Env]; s.Env != "" && other != "" {
			add("secrets", fmt.Sprintf("%s and %s are both shown in %s", other, name, s.Env), "use one of the two, or give one another env")
		}
		shownBy[s.Env] = name
		if _, set := p.Env[s.Env]; set && s.Env != "" {
			add("env", fmt.Sprintf("%s is set here and by the secret %s", s.Env, name), "keep one of the two")
		}
	}
	for _, name := range sortedKeys(p.Env) {
		for _, m := range envTemplate.FindAllStringSubmatch(p.Env[name], -1) {
			if secret, ok := strings.CutPrefix(m[1], "secret."); ok && !slices.Contains(p.Secrets, secret) {
				add("env", fmt.Sprintf("%s names the secret %q, which the profile does not use", name, short(secret)), "add it to the profile's secrets:")
			}
		}
	}
	if p.View == "auditor" {
		if key := auditorIgnores(p); key != "" {
			add(key, "has no effect with view: auditor, which shows the host read-only and connects to nothing", "remove it, or use view: workspace")
		}
	}
	return errs
}

// auditorIgnores gives a key that the auditor's view could not keep.
func auditorIgnores(p *Profile) string {
	for _, k := range []struct {
		key string
		set bool
	}{
		{"mounts", len(p.Mounts) > 0},
		{"sockets", len(p.Sockets) > 0},
		{"local_sockets", p.LocalSockets},
		{"secrets", len(p.Secrets) > 0},
		{"network", len(p.Network.Allow) > 0 || p.Network.Unlisted == "ask"},
		{"pinned", len(p.Pinned) > 0},
	} {
		if k.set {
			return k.key
		}
	}
	return ""
}

// references checks names that settings use of each other.
func (c *Config) references(root *node, src *source) error {
	var errs Errors
	if agents := root.get("agents"); agents != nil {
		for _, a := range agents.val.entries {
			e := a.val.get("profile")
			if e == nil {
				continue
			}
			if _, ok := c.Profiles[e.val.text]; ok {
				continue
			}
			known := sortedKeys(c.Profiles)
			remedy := "use one of " + strings.Join(known, ", ")
			if near := nearest(e.val.text, known); near != "" {
				remedy = "did you mean " + near + "? Use one of " + strings.Join(known, ", ")
			}
			errs = append(errs, src.at(e.val.line, e.val.col, "agents."+a.key+".profile", fmt.Sprintf("%q is not a known value", short(e.val.text)), remedy))
		}
	}
	return errs.err()
}

// networkProblems lists rules that are well formed and still give away more
// than their profile's view is worth.
func (c *Config) networkProblems(add func(key, format string, args ...any)) {
	told := map[int]bool{} // top-level rules
	for _, name := range sortedKeys(c.Profiles) {
		p := c.Profiles[name]
		base := c.Profiles[p.Extends]
		tooMuch := func(r NetRule) bool {
			return r.Clearance != "" && !labelOf(r.Clearance).ConfFlowsTo(labelOf(p.ViewLabel)) && !r.Private
		}
		tell := func(key string, i int, r NetRule) {
			add(fmt.Sprintf("%s.allow[%d].clearance", key, i), "lets %s receive %s, more than the view of profile %s (%s); lower it, or raise profiles.%s.view_label knowingly",
				r.Host, c.Shown(r.Clearance), name, c.Shown(p.ViewLabel), name)
		}
		for i, r := range p.Network.Allow {
			inherited := base.ViewLabel == p.ViewLabel && slices.ContainsFunc(base.Network.Allow, func(b NetRule) bool { return reflect.DeepEqual(b, r) })
			if tooMuch(r) && !inherited {
				tell("profiles."+name+".network", i, r)
			}
		}
		for i, r := range c.Network.Allow {
			if tooMuch(r) && !p.Network.Off && !told[i] {
				told[i] = true
				tell("network", i, r)
			}
		}
	}
	for _, name := range sortedKeys(c.Secrets) {
		if f := c.Secrets[name].From.File; f != "" && slices.ContainsFunc(c.Security.AllowedFilePaths, func(dir string) bool {
			return f == dir || strings.HasPrefix(f, strings.TrimSuffix(dir, "/")+"/")
		}) {
			add("secrets."+name+".from.file", "lies below security.allowed_file_paths, where agents can be given it; keep it elsewhere")
		}
	}
}
