package app

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"sallyport/internal/action"
	"sallyport/internal/egress/proxy"
	"sallyport/internal/fault"
	"sallyport/internal/label"
	"sallyport/internal/principal"
	"sallyport/internal/record"
	"sallyport/internal/sandbox"
)

// opening is what a live session needs to open labelled folders.
type opening struct {
	who   action.Action // agent, session and context of the requests from inside
	names map[string]bool
	told  func(name, shown string) // hears of an opened folder; nil for nobody
	pace  *pace
}

// openFolder performs data.read of folder/NAME: the intent is durable, so the
// context knows more from now on, whatever follows. First the directories that
// the session writes take on its label, then what is under way to destinations
// that may not hear so much is cut off, and only then the content is there.
func (s *sessions) openFolder(ctx context.Context, a action.Action, l label.Label) (record.Result, error) {
	name := strings.TrimPrefix(a.Target, folderPrefix)
	s.mu.Lock()
	live := s.live[a.Session]
	s.mu.Unlock()
	if live == nil || !live.folders.names[name] {
		return record.Result{}, errNoFolder
	}
	snap, err := s.snapshot(ctx, record.Scope{Agent: a.Agent, Session: a.Session, Context: a.Context})
	if err != nil {
		return record.Result{}, err
	}
	know := snap.Context.Join(l)
	if _, err := live.places.raise(ctx, know); err != nil {
		return record.Result{}, err
	}
	cut, err := live.outlet.cut(ctx, proxy.Dest{})
	if err != nil {
		return record.Result{}, err
	}
	if err := live.box.OpenFolder(ctx, name); err != nil {
		return record.Result{}, err
	}
	shown := s.scheme.Format(know)
	if live.folders.told != nil {
		live.folders.told(name, shown)
	}
	return record.Result{
		Output: fmt.Sprintf("folder %s is open; this session is now %s", name, shown),
		Data:   map[string]any{"folder": name, "cut": int64(cut)},
	}, nil
}

// errNoFolder is the answer about a folder that is not there and about one that
// is not for this session: it says nothing of either.
var errNoFolder = fault.New("app.folder", fault.Denied, "no folder of that name can be opened in this session; those that can stand in it with a file CLOSED that names them")

// heed answers what programs of a session ask for until ctx or the sandbox ends.
func (s *sessions) heed(ctx context.Context, live *session) {
	for {
		name, err := live.box.NextFolder(ctx)
		if err != nil {
			return
		}
		if live.folders.pace.wait(ctx) != nil { // every request leaves lines in the log
			return
		}
		if live.box.AnswerFolder(name+": "+s.answer(ctx, live, name)) != nil {
			return
		}
	}
}

// answer passes one request through the gate and says in one line what came of
// it.
func (s *sessions) answer(ctx context.Context, live *session, name string) string {
	if live.box.FolderOpen(name) {
		return "open"
	}
	_ = live.box.AnswerFolder(name + ": being decided") // the answer follows
	a := live.folders.who
	a.Kind, a.Target, a.Principal = action.DataRead, folderPrefix+name, principal.ForAgent(a.Agent)
	a.Args = map[string]any{"item": a.Target, "taint": "yes"}
	res, err := s.net.gate.Do(ctx, a)
	switch {
	case err == nil:
		return res.Output
	case !live.folders.names[name]:
		err = errNoFolder // whatever was decided about what it may not know
	}
	return strings.Join(strings.Fields(sentence(err)), " ")
}

// heedFolders begins to answer the programs of a session that can open folders.
func (s *sessions) heedFolders(ctx context.Context, a action.Action, live *session, spec sandbox.Spec) {
	s.mu.Lock()
	told := s.told[a.Session]
	s.mu.Unlock()
	live.folders = opening{
		who:   action.Action{Agent: a.Agent, Session: a.Session, Context: a.Context},
		names: map[string]bool{}, told: told, pace: newPace(refusalBurst, refusalsPerSecond),
	}
	for _, f := range spec.Folders {
		if f.View != "" {
			live.folders.names[f.Name] = true
		}
	}
	if len(live.folders.names) == 0 {
		return
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan struct{})
	go func() { defer close(done); s.heed(ctx, live) }()
	live.unheed = func() { cancel(); <-done }
}

// learn takes into account that the session comes to know l.
func (l *session) learn(ctx context.Context, know label.Label) error {
	rose, err := l.places.raise(ctx, know)
	if rose {
		_, err = l.outlet.cut(ctx, proxy.Dest{})
	}
	return err
}

// stillAllowed judges what is under way as if it began now.
func (o *outlet) stillAllowed(snap record.Snapshot) func(proxy.Dest, *proxy.RequestInfo) bool {
	now := time.Now()
	return func(d proxy.Dest, r *proxy.RequestInfo) bool {
		q := record.Question{Action: o.actionOf(d, r), Snapshot: snap, Args: snap.Context, Now: now}
		return o.rules.Decide(q).Verdict != record.Deny
	}
}

// cut ends what of this session is under way to destinations that may not hear
// what its context knows now, and says how many connections and requests that
// were. Each is judged again as if it began now; a rule that asks first was
// answered when it began. What goes to source stays: it sent all it had to say
// before what comes back raises the session.
func (o *outlet) cut(ctx context.Context, source proxy.Dest) (int, error) {
	if o == nil {
		return 0, nil
	}
	snap, err := o.snapshot(ctx, record.Scope{Agent: o.who.Agent, Session: o.who.Session, Context: o.who.Context})
	if err != nil {
		return 0, fault.Wrap("app.outlet", fault.Unavailable, errors.Join(errors.New("what is under way cannot be judged again"), err))
	}
	allowed := o.stillAllowed(snap)
	return o.server.Cut(func(d proxy.Dest, r *proxy.RequestInfo) bool {
		return source.Host != "" && d.Host == source.Host && d.Port == source.Port || allowed(d, r)
	}), nil
}
