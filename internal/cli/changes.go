package cli

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strconv"
	"strings"

	"sallyport/internal/app"
	"sallyport/internal/fault"
)

// changesCmd is `sallyport changes`.
type changesCmd struct {
	List    changesListCmd    `cmd:"" default:"withargs" help:"List what waits for review, or what one session changed."`
	Diff    changesDiffCmd    `cmd:"" help:"Show changes line by line."`
	Commit  changesCommitCmd  `cmd:"" help:"Carry changes to the working directory."`
	Discard changesDiscardCmd `cmd:"" help:"Drop changes."`
}

// Help teaches.
func (changesCmd) Help() string {
	return `A guarded program writes into a copy of its working directory. Nothing of the
directory changes before a commit, and a commit carries exactly what was listed.
Examples:
  sallyport changes                      what waits, by session
  sallyport changes list s-1f0a          one session's changes, deletions first
  sallyport changes diff                 of this directory's newest session, line by line
  sallyport changes commit               asks for each file
  sallyport changes commit --all         everything but what is protected or in conflict
  sallyport changes discard --all`
}

// changesListCmd is `sallyport changes list`.
type changesListCmd struct {
	Set string `arg:"" optional:"" name:"changes" help:"The id of a set of changes; without it all sets are listed."`
	All bool   `help:"Also sets that are committed, discarded or empty."`
}

// Run lists.
func (l changesListCmd) Run(c *call) error {
	return c.with(func(a *app.App) error {
		if l.Set != "" {
			return c.oneSet(a, l.Set)
		}
		sets, err := a.ChangeSets(c.ctx, l.All)
		if err != nil {
			return err
		}
		if c.flags.JSON {
			return c.json(map[string]any{"sets": sets})
		}
		if len(sets) == 0 {
			c.printf("no changes wait for review; `sallyport guard -- PROGRAM` makes some\n")
			return nil
		}
		t := table{cols: []column{{title: "CHANGES"}, {title: "STATE"}, {title: "AGENT"}, {title: "STARTED"}, {title: "FILES", right: true}, {title: "DELETED", right: true}, {title: "HELD", right: true}, {title: "DIRECTORY", flex: true}}}
		for _, s := range sets {
			t.add(plain(s.ID), plain(s.State), plain(s.Agent), plain(localTime(s.Started)), plain(fmt.Sprint(s.Count)), plain(fmt.Sprint(s.Deleted)), plain(fmt.Sprint(s.Held)), plain(s.Dir))
		}
		t.print(c)
		for _, s := range sets {
			if s.Label != "" {
				c.printf("%s: written by a session that was %s\n", visible(s.ID), c.paint.yellow(visible(s.Label)))
			}
			if s.Error != "" {
				c.printf("%s: %s\n", visible(s.ID), c.paint.red(visible(s.Error)))
			}
		}
		return nil
	})
}

// oneSet shows one set's changes, deletions first.
func (c *call) oneSet(a *app.App, id string) error {
	set, list, err := a.Changes(c.ctx, id)
	if err != nil {
		return err
	}
	if c.flags.JSON {
		return c.json(map[string]any{"set": set, "changes": list})
	}
	c.heading(set)
	inner := 0
	for _, x := range list {
		if x.Group != "" {
			inner++
			continue
		}
		c.change(x)
	}
	c.bookkeeping(inner, list)
	if len(list) == 0 {
		c.printf("nothing is left\n")
	}
	return nil
}

// bookkeeping names what git's own files do: a branch that moves takes commits
// along that nobody was shown.
func (c *call) bookkeeping(n int, list []app.Change) {
	if n == 0 {
		return
	}
	c.printf("  %s of git's own bookkeeping\n", plural(n, "file", "files"))
	for _, line := range app.Bookkeeping(list) {
		c.printf("            %s\n", visible(line))
	}
}

// heading says whose changes these are and where they go.
func (c *call) heading(set app.ChangeSet) {
	c.printf("%s by %s in %s (%s)\n", visible(set.ID), visible(set.Agent), visible(set.Dir), visible(set.State))
	if set.Label != "" {
		c.printf("  written by a session that was %s: committed, the directory takes that label on, and later sessions in it begin there\n", c.paint.yellow(visible(set.Label)))
	}
}

// change writes one change and what holds it back.
func (c *call) change(x app.Change) {
	mark := map[string]func(string) string{"deleted": c.paint.red, "added": c.paint.green}[x.Kind]
	if mark == nil {
		mark = c.paint.bold
	}
	extra := ""
	switch {
	case x.Lost > 0:
		extra = fmt.Sprintf(" (%s lost)", plural(x.Lost, "file", "files"))
	case x.Target != "":
		extra = " -> " + visible(x.Target)
	case x.Type == "file" && x.Kind != "deleted":
		extra = fmt.Sprintf(" (%d bytes)", x.Size)
	}
	name := visible(x.Path)
	if name != strings.TrimSpace(name) {
		name = strconv.Quote(name) // its blanks would not be seen
	}
	c.printf("  %s%*s %s%s\n", mark(x.Kind), max(0, 9-len(x.Kind)), "", name, extra)
	for _, line := range []struct{ what, why string }{{"never", x.Refused}, {"protected", x.Protected}, {"conflict", x.Conflict}, {"note", x.Note}} {
		if line.why != "" {
			c.printf("            %s: %s\n", c.paint.yellow(line.what), visible(line.why))
		}
	}
}

// pathFlags select changes.
type pathFlags struct {
	Set   string   `placeholder:"ID" help:"The set of changes; default: the newest that waits of this directory, else of any."`
	Paths []string `arg:"" optional:"" name:"path" help:"Paths or globs below the directory; a directory means all beneath it."`
}

// pick gives the changes that the paths select; without paths, all.
func (p pathFlags) pick(list []app.Change) ([]app.Change, error) {
	if len(p.Paths) == 0 {
		return list, nil
	}
	var out []app.Change
	for _, pattern := range p.Paths {
		clean := strings.TrimSuffix(path.Clean(pattern), "/")
		found := false
		for _, c := range list {
			hit, err := path.Match(clean, c.Path)
			if err != nil {
				return nil, fault.New("changes", fault.Usage, "%q is no glob; close its brackets", pattern)
			}
			if hit || c.Path == clean || strings.HasPrefix(c.Path, clean+"/") {
				found = true
				if !slices.ContainsFunc(out, func(o app.Change) bool { return o.Path == c.Path }) {
					out = append(out, c)
				}
			}
		}
		if !found {
			return nil, fault.New("changes", fault.NotFound, "no change is at %s; `sallyport changes list` shows the paths", pattern)
		}
	}
	return out, nil
}

// changesDiffCmd is `sallyport changes diff`.
type changesDiffCmd struct{ pathFlags }

// Run shows.
func (d changesDiffCmd) Run(c *call) error {
	return c.with(func(a *app.App) error {
		set, list, err := a.Changes(c.ctx, d.Set)
		if err != nil {
			return err
		}
		if list, err = d.pick(list); err != nil {
			return err
		}
		if c.flags.JSON {
			return c.diffs(a, set, list)
		}
		c.heading(set)
		for _, x := range list {
			if x.Group != "" && len(d.Paths) == 0 {
				continue
			}
			if err := a.DiffChange(c.ctx, c.out, set.ID, x, c.paint.on); err != nil {
				return err
			}
		}
		return nil
	})
}

// diffed is one change with its diff, as JSON.
type diffed struct {
	app.Change
	Diff string `json:"diff"`
}

func (c *call) diffs(a *app.App, set app.ChangeSet, list []app.Change) error {
	out := make([]diffed, len(list))
	for i, x := range list {
		var b strings.Builder
		if err := a.DiffChange(c.ctx, &b, set.ID, x, false); err != nil {
			return err
		}
		out[i] = diffed{x, b.String()}
	}
	return c.json(map[string]any{"set": set, "changes": out})
}

// changesCommitCmd is `sallyport changes commit`.
type changesCommitCmd struct {
	pathFlags
	All       bool `short:"a" help:"Commit without asking for each: everything selected that nothing holds back."`
	Protected bool `help:"With --all or paths: also what is protected (hooks, shell settings, CI, agents' settings)."`
	Conflict  bool `help:"With --all or paths: also what changed on the host meanwhile."`
}

// Run commits.
func (m changesCommitCmd) Run(c *call) error {
	return c.with(func(a *app.App) error {
		set, list, err := a.Changes(c.ctx, m.Set)
		if err != nil {
			return err
		}
		if list, err = m.pick(list); err != nil {
			return err
		}
		var confirmed []string
		switch {
		case m.All || len(m.Paths) > 0:
			list, confirmed = m.unheld(c, list)
		case c.terminal():
			c.heading(set)
			if list, confirmed, err = c.choose(a, set, list); err != nil {
				return err
			}
		default:
			return fault.New("changes", fault.Usage, "there is no terminal to choose at; name paths or give --all")
		}
		if len(list) == 0 {
			c.printf("nothing was committed\n")
			return nil
		}
		res, err := a.CommitChanges(c.ctx, set.ID, list, confirmed)
		return errors.Join(c.committed(res), err)
	})
}

// unheld leaves out what is held back, and says so.
func (m changesCommitCmd) unheld(c *call, list []app.Change) (out []app.Change, confirmed []string) {
	for _, x := range list {
		why := ""
		switch {
		case x.Refused != "":
			why = x.Refused
		case x.Protected != "" && !m.Protected:
			why = "protected: " + x.Protected + "; --protected commits it"
		case x.Conflict != "" && !m.Conflict:
			why = x.Conflict + "; --conflict commits it"
		}
		if why != "" {
			fmt.Fprintf(c.err, "left out: %s: %s\n", visible(x.Path), visible(why))
			continue
		}
		if x.Held() {
			confirmed = append(confirmed, x.Path)
		}
		out = append(out, x)
	}
	return out, confirmed
}

const chooseHelp = "y commit it, n leave it, d show it, a commit this and all the rest that nothing holds back, q stop here"

// choose asks for each change, git's own bookkeeping as one.
func (c *call) choose(a *app.App, set app.ChangeSet, list []app.Change) (out []app.Change, confirmed []string, err error) {
	in := bufio.NewReader(io.LimitReader(c.in, 1<<20))
	all := false
	var inner []app.Change
	for _, x := range list {
		if x.Group != "" {
			inner = append(inner, x)
			continue
		}
		c.change(x)
		if x.Refused != "" {
			continue
		}
		answer := "y"
		if !all || x.Held() {
			if answer, err = c.askChange(a, in, set, x); err != nil {
				return nil, nil, err
			}
		}
		switch answer {
		case "q":
			return out, confirmed, nil
		case "a":
			all = true
		case "n":
			continue
		}
		out = append(out, x)
		if x.Held() {
			confirmed = append(confirmed, x.Path)
		}
	}
	if len(inner) == 0 {
		return out, confirmed, nil
	}
	c.bookkeeping(len(inner), inner)
	answer := "y"
	if !all {
		if answer, err = c.askChange(a, in, set, inner[0]); err != nil {
			return nil, nil, err
		}
	}
	if answer == "y" || answer == "a" {
		out = append(out, inner...)
	}
	return out, confirmed, nil
}

func (c *call) askChange(a *app.App, in *bufio.Reader, set app.ChangeSet, x app.Change) (string, error) {
	for {
		c.printf("commit it? [y,n,d,a,q,?] ")
		line, err := c.line(in)
		if fault.Is(err, fault.Canceled) {
			return "", err
		}
		if err != nil {
			return "q", nil //nolint:nilerr // the end of the input is the end of the choosing
		}
		switch answer := strings.ToLower(strings.TrimSpace(line)); answer {
		case "y", "n", "a", "q":
			return answer, nil
		case "d":
			if err := a.DiffChange(c.ctx, c.out, set.ID, x, c.paint.on); err != nil {
				return "", err
			}
		default:
			c.printf("%s\n", chooseHelp)
		}
	}
}

// committed says what a commit did. What was skipped makes the command fail.
func (c *call) committed(res app.CommitResult) error {
	if c.flags.JSON {
		if err := c.json(res); err != nil {
			return err
		}
	} else {
		c.printf("committed %s of %s\n", plural(len(res.Committed), "change", "changes"), visible(res.ID))
		if res.Label != "" {
			c.printf("the directory holds %s now: sessions in it begin there, and agents that are not cleared for it do not start in it\n", c.paint.yellow(visible(res.Label)))
		}
		for _, s := range res.Skipped {
			fmt.Fprintf(c.err, "skipped: %s: %s\n", visible(s.Path), visible(s.Reason))
		}
	}
	if len(res.Skipped) > 0 {
		return fault.New("changes", fault.Conflict, "%s not committed; list the changes again and look at them", plural(len(res.Skipped), "change was", "changes were"))
	}
	return nil
}

// changesDiscardCmd is `sallyport changes discard`.
type changesDiscardCmd struct {
	pathFlags
	All bool `short:"a" help:"Drop everything of the set."`
}

// Run discards.
func (d changesDiscardCmd) Run(c *call) error {
	if !d.All && len(d.Paths) == 0 {
		return fault.New("changes", fault.Usage, "name the paths to drop, or give --all")
	}
	return c.with(func(a *app.App) error {
		var list []app.Change
		id := d.Set
		if !d.All {
			set, whole, err := a.Changes(c.ctx, d.Set)
			if err != nil {
				return err
			}
			if list, err = d.pick(whole); err != nil {
				return err
			}
			id = set.ID
		}
		id, err := a.DiscardChanges(c.ctx, id, list)
		if err != nil {
			return err
		}
		if c.flags.JSON {
			return c.json(map[string]any{"changes": id, "result": "discarded"})
		}
		if d.All {
			c.printf("discarded all changes of %s\n", visible(id))
			return nil
		}
		c.printf("discarded %s of %s\n", plural(len(list), "change", "changes"), visible(id))
		return nil
	})
}
