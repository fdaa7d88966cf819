package cli

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"sallyport/internal/app"
	"sallyport/internal/fault"
)

// guardCmd is `sallyport guard`.
type guardCmd struct {
	Profile      string   `placeholder:"NAME" help:"What the program sees and reaches; default: what the program selects, else shell."`
	As           string   `placeholder:"NAME" help:"Name under which it is recorded and granted; default: the profile's."`
	Workdir      string   `placeholder:"DIR" help:"What it works on; default: the current directory."`
	Allow        []string `placeholder:"HOST:PORT" sep:"," help:"A destination permitted for this run; may be repeated."`
	RequireTier  string   `enum:",full,landlock" default:"" placeholder:"TIER" help:"Weakest sandbox that is accepted: full or landlock; default: what the profile requires."`
	NoTranscript bool     `help:"Do not record what it prints."`
	Unattended   bool     `help:"Nobody answers: a question is a no. So it is without a terminal."`
	Argv         []string `arg:"" passthrough:"" name:"program" help:"The program and its arguments, behind --."`
}

// Help teaches.
func (guardCmd) Help() string {
	return `Runs an unmodified program as an agent that nobody trusts: it reads the system and
its working directory, writes into a copy of that directory which you review
(sallyport changes), reaches what its profile lists, and holds placeholders for
credentials. The exit code is the program's own; what Sallyport refuses has the
codes of sallyport help exit-codes. At a terminal, Ctrl-] ? shows the keys for
questions and refusals. Examples:
  sallyport guard -- claude
  sallyport guard --allow example.org:443 -- bash
  sallyport guard --profile node --workdir ~/src/shop -- npm test`
}

// Run runs the program and sums up.
func (g guardCmd) Run(c *call) error {
	argv := g.Argv
	if len(argv) > 0 && argv[0] == "--" {
		argv = argv[1:]
	}
	a, err := c.open("", true)
	if err != nil {
		return err
	}
	c.replaced(a)
	in, out, errs := fileOf(c.in), fileOf(c.raw), fileOf(c.err)
	if in == nil || out == nil || errs == nil {
		return errors.Join(fault.New("guard", fault.Unsupported, "guard needs standard input, output and error to be files, pipes or a terminal"), a.Close())
	}
	workdir := g.Workdir
	if workdir == "" {
		if workdir, err = os.Getwd(); err != nil {
			return errors.Join(&fault.Error{
				Op: "guard", Kind: fault.NotFound, Err: err,
				Public: "the current directory does not exist any more; change to a project directory or name one with --workdir",
			}, a.Close())
		}
	}
	// A reader that leaves our output, as head does, is the program's to notice.
	// (To be told, not ignored: what is ignored stays ignored in the program.)
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	defer signal.Reset(syscall.SIGPIPE)
	sum, err := a.Guard(c.ctx, app.GuardOptions{
		Argv: argv, Profile: g.Profile, As: g.As, Workdir: workdir, Allow: g.Allow, RequireTier: g.RequireTier,
		NoTranscript: g.NoTranscript, Unattended: g.Unattended, Operator: a.Operator(c.ctx), Color: c.paint.on,
		In: in, Out: out, Err: errs, Notes: c.err,
	})
	err = errors.Join(err, a.Close())
	if sum.Session != "" {
		c.guarded(sum)
	}
	if err == nil && sum.Exit != 0 {
		err = programError{sum.Exit}
	}
	return err
}

func fileOf(s any) *os.File {
	f, _ := s.(*os.File)
	return f
}

// programError carries the exit code of a guarded program; there is nothing to
// say about it.
type programError struct{ code int }

func (e programError) Error() string { return fmt.Sprintf("the program ended with %d", e.code) }

// maxRefusalsShown bounds the list at the end of a run.
const maxRefusalsShown = 5

// guarded says on standard error how the run went, since standard output is
// the program's.
func (c *call) guarded(s app.GuardSummary) {
	if c.flags.JSON {
		e := *c
		e.out = c.err
		_ = e.jsonLine(s) // there is nowhere left to complain
		return
	}
	say := func(format string, args ...any) { fmt.Fprintf(c.err, "sallyport: "+format+"\n", args...) }
	for _, set := range s.Changes {
		if set.Error != "" {
			say("changes in %s wait for review, but cannot be listed: sallyport changes list %s", visible(set.Dir), visible(set.ID))
			continue
		}
		held := ""
		waits := "wait"
		if set.Count == 1 {
			waits = "waits"
		}
		if set.Held > 0 {
			held = fmt.Sprintf(", %d to look at", set.Held)
		}
		say("%s in %s %s for review (%d deleted%s): sallyport changes list %s", plural(set.Count, "change", "changes"), visible(set.Dir), waits, set.Deleted, held, visible(set.ID))
	}
	for i, r := range s.Refused {
		if i == maxRefusalsShown {
			say("%d more refused: sallyport events --session %s", len(s.Refused)-i, visible(s.Session))
			break
		}
		say("refused %s %s (%s, %s)", visible(r.Kind), visible(r.Target), visible(r.Rule), plural(r.Count, "time", "times"))
	}
	if s.Transcript != "" && c.flags.Verbose {
		say("transcript: sallyport replay %s", visible(s.Session))
	}
}
