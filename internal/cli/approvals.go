package cli

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/term"

	"sallyport/internal/app"
	"sallyport/internal/fault"
)

// approvalsCmd is `sallyport approvals`.
type approvalsCmd struct {
	All bool `help:"Also those that are over."`
}

// Help teaches.
func (approvalsCmd) Help() string {
	return `What agents wait for an answer to. Examples:
  sallyport approvals
  sallyport approve k3x9ab`
}

// Run lists.
func (p approvalsCmd) Run(c *call) error {
	return c.with(func(a *app.App) error {
		list, err := a.Asks(c.ctx, p.All)
		if err != nil {
			return err
		}
		if c.flags.JSON {
			return c.json(map[string]any{"approvals": list})
		}
		if len(list) == 0 {
			c.printf("nothing waits for an answer\n")
			return nil
		}
		t := table{cols: []column{{title: "ASK"}, {title: "STATE"}, {title: "AGENT"}, {title: "KIND"}, {title: "TARGET", flex: true}, {title: "LEFT", right: true}, {title: "BECAUSE", flex: true}}}
		for _, x := range list {
			left := "-"
			if d := time.Until(x.Expires); d > 0 {
				left = duration(d)
			}
			t.add(plain(x.ID), plain(x.State), plain(cmp.Or(x.Agent, "-")), plain(x.Kind), plain(x.Target), plain(left), plain(oneLine(x.Because)))
		}
		t.print(c)
		c.printf("\n`sallyport approve ASK` shows the whole question before it asks you\n")
		return nil
	})
}

// answerFlags are what approve and deny have in common.
type answerFlags struct {
	ID        string `arg:"" name:"ask" help:"The ask's id, from sallyport approvals."`
	Yes       bool   `short:"y" help:"Do not ask again; needed where there is no terminal."`
	Export    string `placeholder:"FILE" help:"Write the bytes to sign with another tool, and sign nothing."`
	Signature string `placeholder:"FILE" help:"Store a signature that ssh-keygen -Y sign -n approve@sallyport made."`
	Evidence  string `placeholder:"DIR" help:"Write what verifies the answers without Sallyport into a new directory, and sign nothing."`
	signFlags
}

// approveCmd is `sallyport approve`.
type approveCmd struct {
	answerFlags
}

// denyCmd is `sallyport deny`.
type denyCmd struct {
	answerFlags
}

const answerHelp = `Shows the whole question first: exactly what is shown is what is signed, with your
key, good for this one action, once, until it expires. Examples:
  sallyport %[1]s k3x9ab
  sallyport %[1]s k3x9ab --agent                the key is in ssh-agent
  sallyport %[1]s k3x9ab --export ask.bin      then, where the key is:
  ssh-keygen -Y sign -n approve@sallyport -f keys/owner ask.bin
  sallyport %[1]s k3x9ab --signature ask.bin.sig`

// Help teaches.
func (approveCmd) Help() string { return fmt.Sprintf(answerHelp, "approve") }

// Help teaches.
func (denyCmd) Help() string { return fmt.Sprintf(answerHelp, "deny") }

// Run approves.
func (p approveCmd) Run(c *call) error { return p.answer(c, true) }

// Run denies.
func (p denyCmd) Run(c *call) error { return p.answer(c, false) }

func (p answerFlags) answer(c *call, yes bool) error {
	return c.with(func(a *app.App) error {
		if p.Evidence != "" {
			return c.wrote(a.WriteEvidence(c.ctx, p.ID, p.Evidence))
		}
		ask, err := a.AskText(c.ctx, p.ID)
		if err != nil {
			return err
		}
		done := "denied"
		if yes {
			done = "approved"
		}
		var got app.Answered
		switch {
		case p.Export != "":
			done, err = "exported", p.export(c, a, yes)
		case p.Signature != "":
			got, err = p.store(c, a, yes)
		default:
			got, err = p.sign(c, a, ask, yes, done)
		}
		if err != nil {
			return err
		}
		if c.flags.JSON {
			return c.json(map[string]any{"ask": ask.ID, "result": done, "state": got.Ask.State, "signed": slices.Concat([]string{}, got.Ask.Signed), "carried_out": got.Carried})
		}
		c.printf("%s %s\n", done, visible(ask.ID))
		switch {
		case got.Carried:
			c.printf("everybody needed has signed: %s %s is done\n", visible(ask.Kind), visible(ask.Target))
		case yes && got.Ask.State == "open":
			c.printf("signed so far by %s; others must sign too before it counts: `sallyport approve %s` shows how many\n", visible(strings.Join(got.Ask.Signed, ", ")), visible(ask.ID))
		}
		return nil
	})
}

// signFlags say whose key signs.
type signFlags struct {
	Key      string `placeholder:"FILE" help:"Sign with this SSH key, or with the one in ssh-agent whose .pub file this is; default: the key of the state directory."`
	SSHAgent bool   `name:"agent" help:"Sign with the key that ssh-agent and the trust file have in common."`
}

func (s signFlags) signing(c *call) app.Signing {
	out := app.Signing{Key: s.Key, Agent: s.SSHAgent}
	if f, ok := c.in.(*os.File); ok && c.terminal() {
		out.Passphrase = func(prompt string) ([]byte, error) {
			fmt.Fprint(c.err, visible(prompt))
			defer fmt.Fprintln(c.err)
			b, err := term.ReadPassword(int(f.Fd()))
			return b, fault.Wrap("sign.passphrase", fault.Unavailable, err)
		}
	}
	return out
}

// sign answers with the owner's key once the person has read what is signed.
func (p answerFlags) sign(c *call, a *app.App, ask app.Ask, yes bool, done string) (app.Answered, error) {
	if !c.flags.JSON {
		c.printf("%s", visibleLines(ask.Text))
	}
	if err := c.confirm(p.Yes, done); err != nil {
		return app.Answered{}, err
	}
	return a.Answer(c.ctx, p.ID, yes, p.signing(c))
}

func (p answerFlags) export(c *call, a *app.App, yes bool) error {
	b, err := a.AnswerBytes(c.ctx, p.ID, yes)
	if err != nil {
		return err
	}
	return fault.Wrap("approvals.export", fault.Unavailable, os.WriteFile(p.Export, b, 0o600))
}

func (p answerFlags) store(c *call, a *app.App, yes bool) (app.Answered, error) {
	sig, err := readSmall(p.Signature)
	if err != nil {
		return app.Answered{}, err
	}
	return a.AnswerSigned(c.ctx, p.ID, yes, sig)
}

// confirm asks the person at the terminal; anything but yes is no.
func (c *call) confirm(sure bool, done string) error {
	if sure {
		return nil
	}
	if !c.terminal() {
		return fault.New("confirm", fault.Usage, "nobody is at a terminal to confirm; read the question and repeat with --yes")
	}
	fmt.Fprintf(c.err, "Shall this be %s? [y/N] ", done)
	line, err := c.line(bufio.NewReader(c.in))
	if fault.Is(err, fault.Canceled) {
		return err
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return fault.Wrap("confirm", fault.Unavailable, err)
	}
	switch strings.ToLower(strings.TrimSpace(line)) {
	case "y", "yes":
		return nil
	}
	return fault.New("confirm", fault.Canceled, "nothing was signed")
}

const maxSignature = 64 << 10

func readSmall(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, &fault.Error{Op: "approvals.signature", Kind: fault.NotFound, Public: "the signature " + path + " cannot be read", Err: err}
	}
	defer f.Close() //nolint:errcheck // read only
	b, err := io.ReadAll(io.LimitReader(f, maxSignature))
	return b, fault.Wrap("approvals.signature", fault.Unavailable, err)
}
