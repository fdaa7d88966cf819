package cli

import (
	"fmt"
	"os"

	"sallyport/internal/app"
	"sallyport/internal/fault"
)

// selftestCmd is `sallyport selftest`.
type selftestCmd struct {
	Tier string `enum:",full,landlock" default:"" placeholder:"TIER" help:"The tier to attack: full or landlock; default: the best this machine has."`
	Case int    `placeholder:"N" help:"Show one case only, 1 to 54, with what is tried and what was expected."`
}

// Help teaches.
func (selftestCmd) Help() string {
	return `Makes 54 known attacks on agents' sandboxes against this machine's, each first
outside any sandbox to show that it works at all. Nothing of the host is touched:
what is attacked was planted for it. "holds" was stopped as it should be; "not
shown" does not work here even outside; "not promised" is what a weaker tier says
it cannot stop. Ends with 10 when an attack works that should not. Examples:
  sallyport selftest
  sallyport selftest --tier landlock
  sallyport selftest --case 19`
}

// Run attacks.
func (s selftestCmd) Run(c *call) error {
	if s.Case < 0 || s.Case > 54 {
		return fault.New("selftest", fault.Usage, "there is no case %d; cases are 1 to 54", s.Case)
	}
	if !c.flags.JSON {
		fmt.Fprintln(c.err, "attacking this machine's sandbox, about 15 seconds …")
	}
	got, err := app.Selftest(c.ctx, s.Tier, os.Geteuid() == 0)
	if err != nil {
		return err
	}
	if s.Case > 0 {
		rows := got.Rows[:0:0]
		for _, r := range got.Rows {
			if r.Case == s.Case {
				rows = append(rows, r)
			}
		}
		got.Rows = rows
	}
	if c.flags.JSON {
		err = c.json(got)
	} else {
		s.print(c, got)
	}
	if err == nil && !got.OK {
		err = attackError{got.Fails, len(got.Unmet)}
	}
	return err
}

func (s selftestCmd) print(c *call, got app.SelftestResult) {
	colors := map[string]func(string) string{"holds": c.paint.green, "FAILS": c.paint.red, "not promised": c.paint.yellow, "not shown": c.paint.yellow}
	t := table{cols: []column{{title: "CASE", right: true}, {title: "ATTACK", flex: true}, {title: "PROBE"}, {title: "OUTSIDE"}, {title: "INSIDE"}, {title: "VERDICT"}, {title: "STOPPED BY", flex: true}}}
	for _, r := range got.Rows {
		verdict := plain(r.Verdict)
		verdict.color = colors[r.Verdict]
		t.add(plain(fmt.Sprint(r.Case)), plain(r.Attack), plain(r.Probe), plain(r.Outside), plain(r.Inside), verdict, plain(r.Mechanism))
	}
	t.print(c)
	for _, r := range got.Rows {
		if s.Case > 0 {
			c.printf("%s: %s; expected inside: %s\n", visible(r.Probe), visible(r.Tried), visible(r.Want))
		}
		if r.Detail != "" && (s.Case > 0 || r.Verdict == "FAILS" || r.Verdict == "not promised") {
			c.printf("%s: %s\n", visible(r.Probe), visible(r.Detail))
		}
	}
	who := "an ordinary user"
	if got.Root {
		who = "root"
	}
	c.printf("\ntier %s, as %s: %d hold, %d fail, %d not promised, %d not shown, %d absent\n", got.Tier, who, got.Holds, got.Fails, got.NotPromised, got.NotShown, got.Absent)
	for _, u := range got.Unmet {
		c.printf("%s is listed as not promised and yet was stopped: the list is wrong\n", visible(u))
	}
}

// attackError ends a selftest in which something works that should not.
type attackError struct{ fails, unmet int }

func (e attackError) Error() string {
	return fmt.Sprintf("%d attacks work that should be stopped, %d are stopped that should not be listed; do not run agents here before that is understood", e.fails, e.unmet)
}
