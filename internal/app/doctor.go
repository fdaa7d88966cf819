package app

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"sallyport/internal/sandbox"
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
	out := a.checkSandbox(ctx)
	out = append(out, a.checkConfig(production)...)
	out = append(out, a.checkPolicy())
	out = append(out, a.checkPermissions()...)
	out = append(out, a.checkLog(ctx)...)
	out = append(out, a.checkVault(ctx)...)
	out = append(out, a.checkProxy(ctx)...)
	out = append(out, a.checkOrganisation(ctx)...)
	return append(out, a.checkModels()...)
}

// checkSandbox tries every primitive and compares the tier with what the
// profiles require. A primitive that is missing fails only when a profile
// cannot do without it.
func (a *App) checkSandbox(ctx context.Context) []Check {
	rep := sandbox.Probe(ctx)
	out := []Check{}
	for _, name := range slices.Sorted(maps.Keys(a.Config.Profiles)) {
		c := Check{Area: "sandbox", Name: "profile " + name, State: CheckOK, Detail: "tier " + rep.Tier.String() + ", required " + a.Config.Profiles[name].RequiredTier}
		if want := a.Config.Profiles[name].RequiredTier; rep.Tier < sandbox.TierLandlock || want == "full" && rep.Tier < sandbox.TierFull {
			c.State = CheckFail
			c.Remedy = "see the failed primitives below"
			if rep.Tier == sandbox.TierLandlock {
				c.Remedy += fmt.Sprintf(", or accept the weaker tier: profiles.%s.required_tier: landlock", name)
			}
		}
		out = append(out, c)
	}
	for _, p := range rep.Primitives {
		c := Check{Area: "sandbox", Name: p.Name, State: CheckOK, Detail: p.Detail, Remedy: p.Remedy}
		if !p.OK {
			c.State = CheckWarn
		}
		out = append(out, c)
	}
	for _, text := range rep.NotPromised {
		out = append(out, Check{Area: "sandbox", Name: "not promised", State: CheckWarn, Detail: text})
	}
	return out
}

func (a *App) checkPolicy() Check {
	c := Check{Area: "policy", Name: "rules", State: CheckOK}
	set, err := a.Rules("")
	if err != nil {
		c.State, c.Detail, c.Remedy = CheckFail, sentence(err), "correct the rule or the setting it names"
		return c
	}
	c.Detail = fmt.Sprintf("%d, set %.12s", len(set.Rules), set.Digest)
	return c
}

// checkLog opens the database, which compares its newest checkpoint with the
// stored tree, and looks at the anchors. The whole proof is verify's.
func (a *App) checkLog(ctx context.Context) []Check {
	s, err := a.Status(ctx)
	switch {
	case err != nil:
		return []Check{{Area: "log", Name: "database", State: CheckFail, Detail: sentence(err), Remedy: "sallyport verify"}}
	case !s.Begun:
		return []Check{{Area: "log", Name: "database", State: CheckSkip, Detail: "none yet; the first run makes it"}}
	}
	out := []Check{{Area: "log", Name: "database", State: CheckOK, Detail: fmt.Sprintf("%d entries, newest checkpoint fits", s.Entries)}}
	if s.ClockBack {
		out = append(out, Check{Area: "log", Name: "clock", State: CheckWarn, Detail: "this machine's clock is behind the log's newest entry", Remedy: "set the clock right"})
	}
	if len(a.Config.Log.Anchor) == 0 {
		out = append(out, Check{
			Area: "log", Name: "anchor", State: CheckWarn,
			Detail: "none: whoever owns this host can rewrite the log unseen", Remedy: "name a place elsewhere in log.anchor",
		})
	}
	for _, x := range s.Anchors {
		c := Check{Area: "log", Name: "anchor", State: CheckOK, Detail: fmt.Sprintf("%s holds %d entries", x.Name, x.Size)}
		if x.Error != "" {
			c.State, c.Detail, c.Remedy = CheckFail, x.Name+": "+x.Error, "make the place reachable; pushing goes on by itself"
		}
		out = append(out, c)
	}
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
		c := Check{Area: "models", Name: m.KeyEnv, State: CheckOK, Detail: fmt.Sprintf("set; %s may receive %s data", m.Provider, a.ShowLabel(m.Clearance))}
		if !m.KeySet {
			c.State, c.Detail = CheckSkip, "not set; models of "+m.Provider+" cannot be called"
			c.Remedy = "put it into the environment or " + filepath.Join(a.Paths.Home, ".env")
		}
		out = append(out, c)
	}
	return out
}
