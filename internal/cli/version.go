package cli

import (
	"context"
	"runtime"
	"runtime/debug"
)

// versionCmd is `sallyport version`.
type versionCmd struct{}

type versionKey struct{}

// WithVersion says which version this build calls itself; without it the
// version control system's is shown.
func WithVersion(ctx context.Context, version string) context.Context {
	return context.WithValue(ctx, versionKey{}, version)
}

// versionInfo is the JSON form.
type versionInfo struct {
	Version string `json:"version"`
	Commit  string `json:"commit,omitempty"`
	Go      string `json:"go"`
	OS      string `json:"os"`
	Arch    string `json:"arch"`
	Modules int    `json:"modules"`
}

// Help teaches.
func (versionCmd) Help() string { return "Example:\n  sallyport version --json" }

// Run shows what was built.
func (versionCmd) Run(c *call) error {
	v := buildVersion(c.ctx)
	if c.flags.JSON {
		return c.json(v)
	}
	c.printf("sallyport %s %s/%s %s\n", v.Version, v.OS, v.Arch, v.Go)
	if c.flags.Verbose {
		c.printf("commit %s, %d linked modules\n", v.Commit, v.Modules)
	}
	return nil
}

func buildVersion(ctx context.Context) versionInfo {
	v := versionInfo{Version: "dev", Go: runtime.Version(), OS: runtime.GOOS, Arch: runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return v
	}
	if m := info.Main.Version; m != "" && m != "(devel)" {
		v.Version = m
	}
	if s, ok := ctx.Value(versionKey{}).(string); ok && s != "" {
		v.Version = s
	}
	v.Modules = len(info.Deps)
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			v.Commit = s.Value
		}
	}
	return v
}
