package config

import (
	"fmt"
	"strings"
)

// Expand replaces ~/ by the operator's home and ${env.X} by its value in the
// paths of mounts and sockets. An optional mount whose variable is not set is
// left out; any other is an error of kind fault.Config, as is a result that is
// no path a profile may name.
func (p Profile) Expand(home string, env *Env) (Profile, error) {
	mounts := make([]Mount, 0, len(p.Mounts))
	for i, m := range p.Mounts {
		path, terr := expandHost(m.Path, home, env, hostPath)
		if terr != nil && terr.unset && m.Optional {
			continue
		}
		if terr != nil {
			return Profile{}, &Error{Key: fmt.Sprintf("mounts[%d].path", i), Problem: terr.problem, Remedy: terr.remedy}
		}
		m.Path = path
		mounts = append(mounts, m)
	}
	sockets := make([]Socket, 0, len(p.Sockets))
	for i, s := range p.Sockets {
		path, terr := expandHost(s.Path, home, env, hostPath)
		if terr != nil {
			return Profile{}, &Error{Key: fmt.Sprintf("sockets[%d].path", i), Problem: terr.problem, Remedy: terr.remedy}
		}
		s.Path = path
		sockets = append(sockets, s)
	}
	p.Mounts, p.Sockets = mounts, sockets
	return p, nil
}

// Expand replaces ~/ and ${env.X} in the path of a secret's file.
func (s SecretSource) Expand(home string, env *Env) (SecretSource, error) {
	if s.File == "" {
		return s, nil
	}
	path, terr := expandHost(s.File, home, env, anyHostPath) // a place of credentials is where one is
	if terr != nil {
		return SecretSource{}, &Error{Key: "from.file", Problem: terr.problem, Remedy: terr.remedy}
	}
	s.File = path
	return s, nil
}

func expandHost(path, home string, env *Env, check func(*node) (problem, remedy string)) (string, *templateError) {
	name, rest, _ := strings.Cut(strings.TrimPrefix(path, "${env."), "}")
	switch {
	case strings.HasPrefix(path, "~/"):
		if home == "" {
			return "", &templateError{problem: path + " needs a home directory, and there is none", remedy: "set HOME, or write the whole path"}
		}
		path = strings.TrimSuffix(home, "/") + path[1:]
	case strings.HasPrefix(path, "${env."):
		value, ok := env.Lookup(name)
		if !ok || value == "" {
			return "", &templateError{
				problem: "the variable " + short(name) + " is not set", unset: true,
				remedy: "set it in .env or the environment, or write the whole path",
			}
		}
		path = strings.TrimSuffix(value, "/") + rest
	}
	// A variable could hold anything: what comes out is checked like what is written.
	if problem, remedy := check(&node{text: path}); problem != "" || !strings.HasPrefix(path, "/") {
		return "", &templateError{problem: fmt.Sprintf("%q is no path to use: it %s", short(path), problem), remedy: remedy}
	}
	return path, nil
}

// Run is what a session's variables may name.
type Run struct {
	CA      string            // path inside of the bundle: the system's authorities and the run's own
	Proxy   string            // http://127.0.0.1:PORT
	Home    string            // the private home
	Workdir string            // the working directory
	Secrets map[string]string // placeholders by name; an optional secret without a value is not among them
}

// Environ gives the variables of a session as NAME=value: those passed from the
// operator's environment, those that show placeholders, and those that are set,
// the later over the earlier, in the order of their names. One that names an
// optional secret without a value is left out.
func (c *Config) Environ(p Profile, run Run, lookup func(name string) (string, bool)) []string {
	vars := map[string]string{}
	for _, e := range p.EnvPass {
		if v, ok := lookup(e.Name); ok {
			vars[e.Name] = v
		}
	}
	for name, s := range c.SecretsOf(p) {
		if placeholder, ok := run.Secrets[name]; ok && s.Env != "" {
			vars[s.Env] = placeholder
		}
	}
	for name, value := range p.Env {
		if v, ok := run.replace(value); ok {
			vars[name] = v
		}
	}
	out := make([]string, 0, len(vars))
	for _, name := range sortedKeys(vars) {
		out = append(out, name+"="+vars[name])
	}
	return out
}

// replace expands one value once; ok is false when it names a secret that has
// no value.
func (r Run) replace(value string) (out string, ok bool) {
	ok = true
	names := map[string]string{"run.ca": r.CA, "run.proxy": r.Proxy, "run.home": r.Home, "run.workdir": r.Workdir}
	out = envTemplate.ReplaceAllStringFunc(value, func(t string) string {
		name := strings.TrimSuffix(strings.TrimPrefix(t, "${"), "}")
		if secret, is := strings.CutPrefix(name, "secret."); is {
			placeholder, have := r.Secrets[secret]
			ok = ok && have
			return placeholder
		}
		return names[name]
	})
	return out, ok
}
