package app

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"sallyport/internal/fault"
	"sallyport/internal/sandbox"
)

// sessionPlan is what session.start is asked to open.
type sessionPlan struct {
	spec    sandbox.Spec
	shell   bool          // a shell for an agent's commands; else one program is run by exec
	timeout time.Duration // of one command
	output  int           // bytes of one command's output that are kept
}

// args renders the plan as the arguments of session.start: what is digested,
// decided and logged is what planOf reads back.
func (p sessionPlan) args() map[string]any {
	spec := p.spec
	replace := map[string]any{}
	for view, host := range spec.Replace {
		replace[view] = host
	}
	readonly, overlays := map[string]any{}, map[string]any{}
	for _, m := range spec.Mounts {
		readonly[cmp.Or(m.View, m.Host)] = map[string]any{"host": m.Host, "optional": m.Optional}
	}
	for _, o := range spec.Overlays {
		overlays[o.Dir] = o.Store
	}
	folders := map[string]any{}
	for _, f := range spec.Folders {
		folders[f.Name] = map[string]any{"host": f.Host, "view": f.View, "notice": f.Notice}
	}
	l := spec.Limits
	return map[string]any{
		"view": spec.View, "tier": spec.MinTier.String(), "read_only": spec.ReadOnly, "shell": p.shell,
		"network": spec.Network == sandbox.NetworkHandoff, "local_sockets": spec.LocalSockets,
		"mounts": map[string]any{
			"home": spec.Home, "workdir": spec.Workdir, "facts": spec.Facts,
			"writable": texts(spec.Writable), "masked": texts(spec.Masked), "replace": replace,
			"readonly": readonly, "overlays": overlays, "pinned": texts(spec.Pinned), "sockets": texts(spec.Sockets),
			"folders": folders,
		},
		"limits": map[string]any{
			"memory": l.Memory, "pids": int64(l.Pids), "file_size": l.FileSize, "cpu_seconds": l.CPUSeconds,
			"wall_ms": l.Wall.Milliseconds(), "tmp": l.Tmp,
			"cpu_percent": int64(l.CPUPercent), "disk": l.Disk, "disk_files": int64(l.DiskFiles),
			"timeout_ms": p.timeout.Milliseconds(), "output_bytes": int64(p.output),
		},
		"environment": texts(spec.Env),
	}
}

// planOf reads session.start's arguments; anything missing or of another type
// is an error.
func planOf(args map[string]any) (sessionPlan, error) {
	r := argReader{}
	mounts, limits := r.object(args, "mounts"), r.object(args, "limits")
	spec := sandbox.Spec{
		View: r.text(args, "view"), ReadOnly: r.flag(args, "read_only"), Env: r.list(args, "environment"),
		Home: r.text(mounts, "home"), Workdir: r.text(mounts, "workdir"), Facts: r.text(mounts, "facts"),
		Writable: r.list(mounts, "writable"), Masked: r.list(mounts, "masked"), Replace: map[string]string{},
		Pinned: r.list(mounts, "pinned"), Sockets: r.list(mounts, "sockets"), LocalSockets: r.flag(args, "local_sockets"),
		Limits: sandbox.Limits{
			Memory: r.number(limits, "memory"), Pids: int(r.number(limits, "pids")), FileSize: r.number(limits, "file_size"),
			CPUSeconds: r.number(limits, "cpu_seconds"), Tmp: r.number(limits, "tmp"),
			Wall: time.Duration(r.number(limits, "wall_ms")) * time.Millisecond, CPUPercent: int(r.number(limits, "cpu_percent")),
			Disk: r.number(limits, "disk"), DiskFiles: int(r.number(limits, "disk_files")),
		},
	}
	switch tier := r.text(args, "tier"); tier {
	case sandbox.TierFull.String():
		spec.MinTier = sandbox.TierFull
	case sandbox.TierLandlock.String():
		spec.MinTier = sandbox.TierLandlock
	default:
		r.err = errors.Join(r.err, fmt.Errorf("tier %q is not full or landlock", tier))
	}
	for view := range r.object(mounts, "replace") {
		spec.Replace[view] = r.text(r.object(mounts, "replace"), view)
	}
	if r.flag(args, "network") {
		spec.Network = sandbox.NetworkHandoff
	}
	spec.Mounts, spec.Overlays, spec.Folders = r.mounts(mounts), r.overlays(mounts), r.folders(mounts)
	p := sessionPlan{
		spec: spec, shell: r.flag(args, "shell"),
		timeout: time.Duration(r.number(limits, "timeout_ms")) * time.Millisecond, output: int(r.number(limits, "output_bytes")),
	}
	return p, fault.Wrap("app.session", fault.Usage, r.err)
}

// argReader reads typed arguments and keeps what was wrong.
type argReader struct{ err error }

func read[T any](r *argReader, m map[string]any, key string) T {
	v, ok := m[key].(T)
	if !ok {
		r.err = errors.Join(r.err, fmt.Errorf("argument %q is missing or of type %T", key, m[key]))
	}
	return v
}

func (r *argReader) object(m map[string]any, key string) map[string]any {
	return read[map[string]any](r, m, key)
}
func (r *argReader) text(m map[string]any, key string) string  { return read[string](r, m, key) }
func (r *argReader) flag(m map[string]any, key string) bool    { return read[bool](r, m, key) }
func (r *argReader) number(m map[string]any, key string) int64 { return read[int64](r, m, key) }

func (r *argReader) list(m map[string]any, key string) []string {
	vs := read[[]any](r, m, key)
	out := make([]string, 0, len(vs))
	for _, v := range vs {
		s, ok := v.(string)
		if !ok {
			r.err = errors.Join(r.err, fmt.Errorf("argument %q holds a %T", key, v))
		}
		out = append(out, s)
	}
	return out
}

// mounts and overlays are written as objects by their path in the view, so
// they come back in the order of those paths.
func (r *argReader) mounts(args map[string]any) []sandbox.Mount {
	var out []sandbox.Mount
	all := r.object(args, "readonly")
	for _, view := range slices.Sorted(maps.Keys(all)) {
		m := r.object(all, view)
		out = append(out, sandbox.Mount{Host: r.text(m, "host"), View: view, Optional: r.flag(m, "optional")})
	}
	return out
}

func (r *argReader) overlays(args map[string]any) []sandbox.Overlay {
	var out []sandbox.Overlay
	all := r.object(args, "overlays")
	for _, dir := range slices.Sorted(maps.Keys(all)) {
		out = append(out, sandbox.Overlay{Dir: dir, Store: r.text(all, dir)})
	}
	return out
}

func (r *argReader) folders(args map[string]any) []sandbox.Folder {
	var out []sandbox.Folder
	all := r.object(args, "folders")
	for _, name := range slices.Sorted(maps.Keys(all)) {
		f := r.object(all, name)
		out = append(out, sandbox.Folder{Name: name, Host: r.text(f, "host"), View: r.text(f, "view"), Notice: r.text(f, "notice")})
	}
	return out
}
