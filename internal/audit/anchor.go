package audit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"sallyport/internal/fault"
)

// Anchor is a place outside the log where checkpoints are kept, so that whoever
// owns this machine cannot rewrite history unnoticed.
type Anchor interface {
	// Name identifies it in status and events; it holds no credentials.
	Name() string
	// Push stores a signed checkpoint there; nil means it will stay.
	Push(ctx context.Context, checkpoint []byte) error
}

// FileAnchor appends checkpoints to a file, preferably on another file system
// or one that only grows.
type FileAnchor struct{ Path string }

// Name implements Anchor.
func (a FileAnchor) Name() string { return "file:" + a.Path }

// Push appends the checkpoint, framed by an empty line, and syncs.
func (a FileAnchor) Push(_ context.Context, checkpoint []byte) error {
	f, err := os.OpenFile(a.Path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644) //nolint:gosec // G302, G304: public, at the operator's choice
	if err != nil {
		return fault.Wrap("audit.fileAnchor", fault.Unavailable, err)
	}
	_, err = f.Write(append(bytes.Clone(checkpoint), '\n'))
	return fault.Wrap("audit.fileAnchor", fault.Unavailable, errors.Join(err, f.Sync(), f.Close()))
}

// ReadAnchors splits what a FileAnchor wrote, or a git anchor's file, into
// checkpoints. A last one without its end, from a crash while it was written, is
// left out.
func ReadAnchors(data []byte) [][]byte {
	var out [][]byte
	// A checkpoint is text, an empty line and a signature line.
	for rest := data; ; {
		i := bytes.Index(rest, []byte("\n\n"))
		if i < 0 {
			return out
		}
		end := bytes.IndexByte(rest[i+2:], '\n')
		if end < 0 {
			return out
		}
		end += i + 3
		out = append(out, bytes.Clone(rest[:end]))
		rest = bytes.TrimLeft(rest[end:], "\n")
	}
}

// GitAnchor commits checkpoints to a file of a git repository and, if Remote is
// set, pushes. git is run as a program, although processes belong to sandbox:
// an anchor must be able to use whatever remote and credentials the operator's
// git has. Its arguments are fixed, no shell is between, hooks are disabled, it
// runs outside any agent's reach, and its only input is the checkpoint.
type GitAnchor struct {
	Dir    string // working tree
	Remote string // name of a remote, empty for none
	Env    []string
}

// gitFile is the file in the repository.
const gitFile = "sallyport-checkpoints.txt"

// gitTimeout bounds one run of git, for one that waits for a password.
const gitTimeout = time.Minute

// Name implements Anchor.
func (a GitAnchor) Name() string { return "git:" + a.Dir }

// Push appends, commits and pushes.
func (a GitAnchor) Push(ctx context.Context, checkpoint []byte) error {
	if err := (FileAnchor{filepath.Join(a.Dir, gitFile)}).Push(ctx, checkpoint); err != nil {
		return err
	}
	steps := [][]string{
		{"add", "--", gitFile},
		{
			"-c", "user.name=sallyport", "-c", "user.email=sallyport@localhost", "-c", "commit.gpgSign=false",
			"commit", "--quiet", "--no-verify", "--message", "checkpoint", "--", gitFile,
		},
	}
	if a.Remote != "" {
		steps = append(steps, []string{"push", "--quiet", "--no-verify", "--", a.Remote, "HEAD"})
	}
	for _, args := range steps {
		if err := a.git(ctx, args); err != nil {
			return err
		}
	}
	return nil
}

func (a GitAnchor) git(ctx context.Context, args []string) error {
	ctx, cancel := context.WithTimeout(ctx, gitTimeout)
	defer cancel()
	//nolint:forbidigo // why git, and why here: see GitAnchor
	cmd := exec.CommandContext(ctx, "git", append([]string{"-c", "core.hooksPath=/dev/null"}, args...)...)
	cmd.Dir, cmd.Env, cmd.WaitDelay = a.Dir, append(append([]string{}, a.Env...), "GIT_TERMINAL_PROMPT=0"), time.Second
	out, err := cmd.CombinedOutput()
	if err != nil {
		return &fault.Error{
			Op: "audit.gitAnchor", Kind: fault.Unavailable, Public: "git could not keep the checkpoint in " + a.Dir,
			Err: fmt.Errorf("%w: %s", err, strings.TrimSpace(string(out))),
		}
	}
	return nil
}

// Doer sends HTTP requests; the one that connects is injected.
type Doer interface {
	Do(*http.Request) (*http.Response, error)
}

// WebhookAnchor posts checkpoints as text/plain. Any 2xx means kept.
type WebhookAnchor struct {
	URL    string
	Client Doer
}

// Name implements Anchor; a query or user may hold a secret and is left out.
func (a WebhookAnchor) Name() string {
	u := a.URL
	if i := strings.IndexAny(u, "?#"); i >= 0 {
		u = u[:i]
	}
	if scheme, rest, ok := strings.Cut(u, "://"); ok {
		host, path, _ := strings.Cut(rest, "/")
		u = scheme + "://" + host[strings.LastIndexByte(host, '@')+1:] + "/" + path
	}
	return "webhook:" + u
}

// Push posts the checkpoint.
func (a WebhookAnchor) Push(ctx context.Context, checkpoint []byte) error {
	const op = "audit.webhookAnchor"
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, a.URL, bytes.NewReader(checkpoint))
	if err != nil {
		return fault.New(op, fault.Config, "the webhook of log.anchor is no URL")
	}
	req.Header.Set("Content-Type", "text/plain; charset=utf-8")
	resp, err := a.Client.Do(req)
	if err != nil {
		return &fault.Error{Op: op, Kind: fault.Unavailable, Public: a.Name() + " cannot be reached", Err: err}
	}
	defer resp.Body.Close() //nolint:errcheck // read only
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10))
	if resp.StatusCode/100 != 2 {
		return fault.New(op, fault.Unavailable, "%s answered %s", a.Name(), resp.Status)
	}
	return nil
}

// Pusher keeps anchors up to date in the background. Actions never wait for it.
type Pusher struct {
	anchors []Anchor
	every   time.Duration
	pushed  func(ctx context.Context, anchor string, size int64, err error, changed bool)
	latest  []chan point // one per anchor, holding the newest checkpoint
	cancel  context.CancelFunc
	done    sync.WaitGroup
}

type point struct {
	size int64
	note []byte
}

// pushTimeout bounds one push.
const pushTimeout = 2 * time.Minute

// maxBackoff bounds the pause after repeated failures.
const maxBackoff = 5 * time.Minute

// NewPusher starts a Pusher. It pushes to each anchor at most once in every
// (which bounds how much history is unanchored), the newest checkpoint offered.
// pushed is called after each attempt, from one goroutine per anchor; changed
// says that the anchor began or ceased to fail: record an event only then, or
// every event makes a checkpoint and every checkpoint an event.
func NewPusher(anchors []Anchor, every time.Duration, pushed func(ctx context.Context, anchor string, size int64, err error, changed bool)) *Pusher {
	ctx, cancel := context.WithCancel(context.Background())
	p := &Pusher{anchors: anchors, every: every, pushed: pushed, cancel: cancel}
	for _, a := range anchors {
		ch := make(chan point, 1)
		p.latest = append(p.latest, ch)
		p.done.Go(func() { p.serve(ctx, a, ch) })
	}
	return p
}

// Offer hands over a checkpoint and returns at once; an older one that was not
// pushed yet is dropped, because the newer covers it. One goroutine may call it.
func (p *Pusher) Offer(size int64, note []byte) {
	for _, ch := range p.latest {
		for sent := false; !sent; {
			select {
			case ch <- point{size, note}:
				sent = true
			default: // make room; the server may have emptied it meanwhile
				select {
				case <-ch:
				default:
				}
			}
		}
	}
}

// Close pushes what waits, once, and ends; ctx bounds how long.
func (p *Pusher) Close(ctx context.Context) error {
	p.cancel()
	p.done.Wait()
	var errs []error
	for i, a := range p.anchors {
		select {
		case c := <-p.latest[i]:
			err := a.Push(ctx, c.note)
			p.pushed(ctx, a.Name(), c.size, err, false)
			errs = append(errs, err)
		default:
		}
	}
	return errors.Join(errs...)
}

func (p *Pusher) serve(ctx context.Context, a Anchor, ch chan point) {
	failing, wait := false, p.every
	for {
		var c point
		select {
		case <-ctx.Done():
			return
		case c = <-ch:
		}
		pctx, cancel := context.WithTimeout(ctx, pushTimeout)
		err := a.Push(pctx, c.note)
		cancel()
		if err != nil {
			select { // keep it for the next try unless a newer one came
			case ch <- c:
			default:
			}
			if ctx.Err() != nil {
				return
			}
			wait = min(max(2*wait, time.Second), maxBackoff)
		} else {
			wait = p.every
		}
		changed := failing != (err != nil)
		failing = err != nil
		p.pushed(ctx, a.Name(), c.size, err, changed)
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}
