package app

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// CheckState is how one check of the doctor ended.
type CheckState string

// The states of a check. Only Fail prevents work.
const (
	CheckOK   CheckState = "ok"
	CheckWarn CheckState = "warn"
	CheckFail CheckState = "fail"
	CheckSkip CheckState = "skip" // nothing to look at yet
)

// Check is one line of the doctor's list.
type Check struct {
	Area   string     `json:"area"`
	Name   string     `json:"name"`
	State  CheckState `json:"state"`
	Detail string     `json:"detail"`
	Remedy string     `json:"remedy,omitempty"`
}

// Doctor looks at the machine, the configuration, the permissions and the
// keys. It changes nothing but what probing the sandbox needs to try.
func (a *App) Doctor(ctx context.Context, production bool) []Check {
	out := []Check{}
	out = append(out, a.checkConfig(production)...)
	out = append(out, a.checkPermissions()...)
	out = append(out, a.checkModels()...)
	return out
}

func (a *App) checkConfig(production bool) []Check {
	c := Check{Area: "configuration", Name: "file", State: CheckOK, Detail: a.Config.Path}
	if a.Config.Path == "" {
		c.State, c.Detail, c.Remedy = CheckWarn, "no sallyport.yaml, the built-in defaults apply: no agent has a shell", "sallyport init"
	}
	out := []Check{c}
	for _, err := range a.Config.Problems(production) {
		out = append(out, Check{Area: "configuration", Name: "setting", State: CheckFail, Detail: sentence(err), Remedy: "edit the configuration"})
	}
	for _, n := range a.Notices {
		out = append(out, Check{Area: "configuration", Name: "notice", State: CheckWarn, Detail: n})
	}
	return out
}

// checkPermissions looks at what must be closed to others.
func (a *App) checkPermissions() []Check {
	if !a.exists {
		return []Check{{Area: "state", Name: "directory", State: CheckSkip, Detail: a.Paths.Home + " does not exist yet", Remedy: "sallyport init"}}
	}
	out := []Check{{Area: "state", Name: "directory", State: CheckOK, Detail: a.Paths.Home + ", mode 0700, yours"}}
	private := []string{a.Paths.Keys, a.Paths.Database, a.Paths.Log, filepath.Join(a.Paths.Home, ".env")}
	keys, err := filepath.Glob(filepath.Join(a.Paths.Keys, "*"))
	if err == nil {
		private = append(private, keys...)
	}
	for _, p := range private {
		info, err := os.Lstat(p)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		c := Check{Area: "state", Name: filepath.Base(p), State: CheckOK}
		switch {
		case err != nil:
			c.State, c.Detail = CheckFail, err.Error()
		case filepath.Ext(p) == ".pub":
			continue
		case info.Mode().Perm()&0o077 != 0:
			c.State, c.Detail = CheckFail, fmt.Sprintf("%s has mode %04o: others can read or change it", p, info.Mode().Perm())
			c.Remedy = "chmod go-rwx " + p
		default:
			c.Detail = fmt.Sprintf("mode %04o", info.Mode().Perm())
		}
		out = append(out, c)
	}
	return out
}

// checkModels says which providers could be used. A missing key is no failure:
// nothing may need it.
func (a *App) checkModels() []Check {
	var out []Check
	seen := map[string]bool{}
	for _, m := range a.Models() {
		if m.KeyEnv == "" || seen[m.KeyEnv] {
			continue
		}
		seen[m.KeyEnv] = true
		c := Check{Area: "models", Name: m.KeyEnv, State: CheckOK, Detail: fmt.Sprintf("set; %s may receive %s data", m.Provider, m.Clearance)}
		if !m.KeySet {
			c.State, c.Detail = CheckSkip, "not set; models of "+m.Provider+" cannot be called"
			c.Remedy = "put it into the environment or " + filepath.Join(a.Paths.Home, ".env")
		}
		out = append(out, c)
	}
	return out
}
