package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/term"

	"sallyport/internal/action"
	"sallyport/internal/approval"
	"sallyport/internal/fault"
	"sallyport/internal/guard/screen"
	"sallyport/internal/label"
	"sallyport/internal/record"
	"sallyport/internal/sandbox"
)

// seat is where the person sits who runs a program under guard: at a terminal,
// whose last row is ours, or behind pipes.
type seat struct {
	g        *guarded
	tty      bool
	notices  chan struct{}
	attached chan struct{} // closed when screen is set
	screen   *screen.Screen
	recorder *screen.Recorder
	taping   sync.Mutex             // around the recorder's beginning and end
	knows    label.Label            // what the session shows, and a transcript would
	file     *os.File               // of the transcript; nil when none is kept
	ended    atomic.Bool            // the person ended the program with a key
	said     atomic.Pointer[string] // what the last key command did, for the status line
	widening atomic.Bool            // it is asked whether to permit a destination
	label    atomic.Pointer[string] // of the session, once a folder raised it
}

func (g *guarded) newSeat() *seat {
	o := g.opts
	return &seat{
		g: g, notices: make(chan struct{}, 1), attached: make(chan struct{}),
		tty: o.In != nil && o.Out != nil && term.IsTerminal(int(o.In.Fd())) && term.IsTerminal(int(o.Out.Fd())),
	}
}

// record begins the transcript, unless none is wanted.
func (s *seat) record() error {
	s.taping.Lock()
	defer s.taping.Unlock()
	g := s.g
	if g.opts.NoTranscript || !g.engine.store.Clears(s.knows) {
		return nil
	}
	dir := g.app.transcriptsDir()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fault.Wrap("app.transcript", fault.Unavailable, err)
	}
	f, err := os.OpenFile(filepath.Join(dir, g.session+castSuffix), os.O_WRONLY|os.O_CREATE|os.O_EXCL|os.O_APPEND, 0o600)
	if err != nil {
		return fault.Wrap("app.transcript", fault.Unavailable, err)
	}
	s.file, s.recorder = f, screen.NewRecorder(f, screen.RecorderOptions{Title: g.name, Scrub: func(b []byte) []byte { return g.plan.scrub(b) }})
	return nil
}

// size implements attach. The screen takes one row for itself once it is there.
func (s *seat) size() *sandbox.WinSize {
	if !s.tty {
		return nil
	}
	cols, rows, err := term.GetSize(int(s.g.opts.Out.Fd()))
	if err != nil || rows <= 0 || cols <= 0 {
		rows, cols = 24, 80
	}
	return &sandbox.WinSize{Rows: uint16(min(rows, 1<<15)), Cols: uint16(min(cols, 1<<15))}
}

// master lets a screen resize a program.
type master struct {
	io.ReadWriter
	p *sandbox.Process
}

// Resize implements screen.Program.
func (m master) Resize(rows, cols uint16) error {
	return m.p.Resize(sandbox.WinSize{Rows: rows, Cols: cols})
}

// serve implements attach.
func (s *seat) serve(ctx context.Context, p *sandbox.Process) error {
	o := s.g.opts
	if !s.tty {
		return screen.Relay(ctx, o.In, o.Out, o.Err, screen.Pipes{In: p.Stdin, Out: p.Stdout, Err: p.Stderr})
	}
	if err := s.record(); err != nil {
		return err
	}
	scr, err := screen.Attach(ctx, master{p.Terminal, p}, screen.Options{
		In: o.In, Out: o.Out, Recorder: s.recorder, Status: s.status, Notices: s.notices, Commands: s.command, Help: commandHelp, Color: o.Color,
	})
	if err != nil {
		return err
	}
	s.screen = scr
	close(s.attached)
	err = scr.Wait()
	return errors.Join(err, scr.Close())
}

// changed asks for the status line to be drawn again.
func (s *seat) changed() {
	select {
	case s.notices <- struct{}{}:
	default: // one is on its way
	}
}

// status is the status line's text: who runs, how confined, what was refused.
func (s *seat) status() string {
	g := s.g
	line := fmt.Sprintf(" %s, tier %s", g.name, g.sum.Tier)
	passed, refused := g.tally.counts()
	if passed > 0 {
		line += fmt.Sprintf(", %d out", passed)
	}
	if refused > 0 {
		line += fmt.Sprintf(", %d refused", refused)
		if dest, ok := g.tally.lastRefused(); ok {
			line += fmt.Sprintf(": %s (Ctrl-] a to allow it)", dest)
		}
	}
	if l := s.label.Load(); l != nil {
		line += ", " + *l
	}
	if said := s.said.Load(); said != nil {
		line += "; " + *said
	}
	return line + "   Ctrl-] ? help"
}

// rises ends the transcript before the session shows what may not lie about in
// the clear.
func (s *seat) rises(l label.Label) {
	s.taping.Lock()
	defer s.taping.Unlock()
	s.knows = s.knows.Join(l)
	if s.recorder != nil && !s.g.engine.store.Clears(s.knows) {
		s.recorder.End("the recording ends here: the session is now " + s.g.app.scheme().Format(s.knows) + ", which is not kept in the clear")
	}
}

// raised tells that a folder was opened and what the session is now.
func (s *seat) raised(name, shown string) {
	s.label.Store(&shown)
	if !s.tty {
		fmt.Fprintf(s.g.opts.Notes, "sallyport: folder %s was opened; this session is %s\n", name, shown)
		return
	}
	s.say("folder " + name + " was opened")
}

// allowFor is how long a destination stays permitted that a key allowed.
const allowFor = time.Hour

const commandHelp = "a allows what was refused last, k ends the program"

// command obeys a key after the prefix: a asks whether to permit the
// destination that was refused last, k ends the program.
func (s *seat) command(key byte) {
	said := ""
	switch key {
	case 'a':
		dest, ok := s.g.tally.lastRefused()
		switch {
		case !ok:
			said = "nothing was refused"
		case s.widening.CompareAndSwap(false, true):
			// The program refuses itself something else when it likes, also while
			// the key is pressed: what is permitted is what this question names.
			go func() {
				defer s.widening.Store(false)
				s.say(s.widen(dest))
			}()
			return
		}
	case 'k':
		said = "ending"
		s.ended.Store(true)
		s.g.engine.boxes.kill(s.g.session)
	default:
		said = commandHelp
	}
	s.say(said)
}

// widen permits a destination if the person says yes to its very name, and says
// what came of it.
func (s *seat) widen(dest string) string {
	<-s.attached // a key may come before the screen is known here
	answer, answered, err := s.screen.Ask(context.Background(), screen.Question{
		Text: "allow all of " + dest + " for 1h?",
		Keys: []screen.Choice{{Key: 'y', Label: "allow"}, {Key: 'n', Label: "leave it refused"}},
	})
	if err != nil || !answered || answer != "allow" {
		return dest + " stays refused"
	}
	if _, err := s.g.app.GrantDestination(context.Background(), s.g.name, dest, allowFor, "allowed at the terminal of guard"); err != nil {
		return fault.PublicText(err)
	}
	return dest + " is allowed for 1h, try again"
}

// say puts what a key did on the status line.
func (s *seat) say(said string) {
	s.said.Store(&said)
	s.changed()
}

// asker puts questions on the status line; nil where nobody can be asked.
func (s *seat) asker() approval.Asker {
	if !s.tty || s.g.opts.Unattended {
		return nil
	}
	return seatAsker{s}
}

type seatAsker struct{ s *seat }

// allowHost is the answer that permits more than what was asked.
const allowHost = "allow all of this host and port for 1h"

// Ask implements approval.Asker. The question is the whole rendered one; the
// answer is a key that neither the program nor what was typed for it can press.
func (a seatAsker) Ask(ctx context.Context, row record.AskRow, _ string) (answer, answered bool, err error) {
	select {
	case <-a.s.attached:
	case <-ctx.Done():
		return false, false, nil
	}
	got, answered, err := a.s.screen.Ask(ctx, screen.Question{
		Text: questionOf(row),
		Keys: []screen.Choice{{Key: 'y', Label: "allow once"}, {Key: 'h', Label: allowHost}, {Key: 'n', Label: "deny"}},
	})
	if err != nil || !answered {
		return false, false, err
	}
	if got == allowHost {
		dest, ok := row.Target, row.Kind == action.NetConnect
		if row.Kind == action.HTTPRequest {
			dest, ok = destinationOf(row.Target)
		}
		if ok {
			if _, err := a.s.g.app.GrantDestination(ctx, row.Agent, dest, allowFor, "allowed at the terminal of guard"); err != nil {
				return false, false, err
			}
		}
	}
	return got != "deny", true, nil
}

// questionOf is short enough for one row where the target is: why it is asked
// is said at length in the log and by `sallyport approvals`. Of a request it
// names all that a yes would let pass, as the signed statement has it.
func questionOf(row record.AskRow) string {
	switch row.Kind {
	case action.NetConnect:
		return "connect to " + row.Target + "?"
	case action.HTTPRequest:
		method, query := requestOf(row.Payload)
		if query != "" {
			query = "?" + query
		}
		return method + " " + row.Target + query + " ?"
	default:
		return fmt.Sprintf("%s %s? %s", row.Kind, row.Target, row.Because)
	}
}

// requestOf reads method and query of the request that a statement is about.
func requestOf(payload []byte) (method, query string) {
	all, err := action.ParseObject(payload)
	if err != nil {
		return "(unreadable)", "" // answering it fails too
	}
	for _, key := range []string{"predicate", "action", "args"} {
		all, _ = all[key].(map[string]any)
	}
	method, _ = all["method"].(string)
	query, _ = all["query"].(string)
	return method, query
}

// close ends the recording.
func (s *seat) close() error {
	if s.recorder == nil {
		return nil
	}
	return errors.Join(s.recorder.Close(), s.file.Close())
}

func (s *seat) transcript() string {
	if s.file == nil {
		return ""
	}
	return s.file.Name()
}

// counts gives what passed and what was refused.
func (t *tally) counts() (passed, refused int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, n := range t.passed {
		passed += n
	}
	for _, n := range t.refused {
		refused += n
	}
	return passed, refused
}

// kill ends a session's processes at once.
func (s *sessions) kill(id string) {
	s.mu.Lock()
	live := s.live[id]
	s.mu.Unlock()
	if live != nil {
		live.box.Kill()
	}
}
