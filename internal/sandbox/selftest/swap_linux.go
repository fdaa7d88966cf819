package selftest

import (
	"context"
	"errors"
	"os"

	"golang.org/x/sys/unix"

	"sallyport/internal/sandbox"
)

// swapStarts is how many sandboxes are started while paths are exchanged.
const swapStarts = 6

// plantSwap makes a working directory whose .git can be exchanged with a link
// to a directory outside.
func (p *planted) plantSwap() error {
	work, out := p.dir()+"/swap", p.Outside+"/git"
	for _, d := range []string{work + "/.git/hooks", out + "/hooks", p.dir() + "/store/swap"} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return err
		}
	}
	return errors.Join(
		os.WriteFile(work+"/.git/hooks/token", nil, 0o644),       //nolint:gosec // everybody may read it, so that only the view stands between
		os.WriteFile(out+"/hooks/token", []byte(p.Token), 0o644), //nolint:gosec // the same
		os.Symlink(out, work+"/.git.link"),
	)
}

// swapped starts sandboxes while .git and the link change places as fast as
// they can, and looks into each view.
func (r *run) swapped(ctx context.Context) string {
	work := r.p.dir() + "/swap"
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
				_ = unix.Renameat2(unix.AT_FDCWD, work+"/.git", unix.AT_FDCWD, work+"/.git.link", unix.RENAME_EXCHANGE)
			}
		}
	}()
	defer func() { close(stop); <-stopped }()
	t := r.target
	t.Work = work
	for range swapStarts {
		spec := r.p.spec(r.tier)
		spec.Workdir, spec.Overlays, spec.Writable, spec.Pinned = work, nil, nil, []string{work + "/.git/hooks"}
		if r.tier == sandbox.TierLandlock {
			spec.Pinned = nil // takes mounts; the directory itself is granted
		}
		text := look(ctx, spec, r.tier, t)
		if text == Succeeded {
			return text
		}
	}
	return "blocked:contained"
}

// look starts one sandbox and runs the check in it. A start that is refused
// shows nothing of the outside.
func look(ctx context.Context, spec sandbox.Spec, tier sandbox.Tier, t target) string {
	sb, err := sandbox.StartTier(ctx, spec, tier)
	if err != nil {
		return "blocked:contained"
	}
	defer func() { _ = sb.Close() }()
	b, err := t.encode()
	if err != nil {
		return "skipped:" + err.Error()
	}
	return execute(ctx, sb, sandbox.Command{Argv: []string{t.Program, probeName, "swap-check", b}})
}
