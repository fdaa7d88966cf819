package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/term"

	"sallyport/internal/app"
	"sallyport/internal/config"
	"sallyport/internal/fault"
)

// call is one run of a command: its streams, flags and how it may look.
type call struct {
	ctx      context.Context
	in       io.Reader
	out, err io.Writer
	raw      io.Writer // standard output itself, behind out
	environ  []string
	flags    *globals
	command  string

	width int   // columns of a table; 0 = no limit (piped)
	paint paint // colours of standard output
}

// env gives a variable of the environment the command was given.
func (c *call) env(name string) string {
	for _, kv := range slices.Backward(c.environ) {
		if v, ok := strings.CutPrefix(kv, name+"="); ok {
			return v
		}
	}
	return ""
}

// look finds out what standard output is.
func (c *call) look() {
	f, ok := c.raw.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return
	}
	c.paint.on = !c.flags.NoColor && c.env("NO_COLOR") == "" && c.env("TERM") != "dumb"
	c.width = 80
	if n, err := strconv.Atoi(c.env("COLUMNS")); err == nil && n >= 20 {
		c.width = n
	} else if w, _, err := term.GetSize(int(f.Fd())); err == nil && w >= 20 {
		c.width = w
	}
}

// terminal reports whether a person can be asked at standard input.
func (c *call) terminal() bool {
	f, ok := c.in.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// open opens the installation and says its notices on standard error when the
// operator wants to hear more.
func (c *call) open(agentFile string, create bool) (*app.App, error) {
	a, err := app.Open(c.ctx, app.Options{
		Home: c.flags.Home, Config: c.flags.Config, AgentFile: agentFile, Environ: c.environ, Create: create,
	})
	if err != nil {
		return nil, err
	}
	if c.flags.Verbose {
		for _, n := range a.Notices {
			fmt.Fprintln(c.err, "note: "+visible(n))
		}
	}
	return a, nil
}

// replaced says which settings of older programs mean nothing here, at the start
// of what runs long; with --verbose all notices were said.
func (c *call) replaced(a *app.App) {
	if c.flags.Verbose {
		return
	}
	for _, n := range a.Replaced() {
		fmt.Fprintln(c.err, "note: "+visible(n))
	}
}

// with opens the installation for reading, runs f and closes it.
func (c *call) with(f func(a *app.App) error) error { return c.withAgent("", f) }

// withAgent does the same with the configuration that a run of the agent file
// would use.
func (c *call) withAgent(agentFile string, f func(a *app.App) error) error {
	a, err := c.open(agentFile, false)
	if err != nil {
		return err
	}
	return errors.Join(f(a), a.Close())
}

// output remembers the first failed write, so that a full disk or a closed
// pipe is not taken for success.
type output struct {
	w      io.Writer
	failed error
}

// Write implements io.Writer.
func (o *output) Write(b []byte) (int, error) {
	n, err := o.w.Write(b)
	if err != nil && o.failed == nil {
		o.failed = err
	}
	return n, err
}

// written gives the exit code of a command that did its work.
func (c *call) written(o *output) int {
	if o.failed != nil {
		return c.fail(&fault.Error{
			Op: "cli.write", Kind: fault.Unavailable, Err: o.failed,
			Public: "standard output cannot be written, so what you have of it is not complete; check the disk or the pipe",
		})
	}
	return exitOK
}

// printf writes to standard output.
func (c *call) printf(format string, args ...any) { fmt.Fprintf(c.out, format, args...) }

// json writes one value, indented: a command's whole answer.
func (c *call) json(v any) error {
	e := json.NewEncoder(c.out)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return fault.Wrap("cli.json", fault.Internal, e.Encode(v))
}

// jsonLine writes one value on one line: an element of a stream.
func (c *call) jsonLine(v any) error {
	e := json.NewEncoder(c.out)
	e.SetEscapeHTML(false)
	return fault.Wrap("cli.json", fault.Internal, e.Encode(v))
}

// errorJSON is the form of an error under --json.
type errorJSON struct {
	Code    int    `json:"code"`
	Kind    string `json:"kind"`
	Message string `json:"message"`
	Detail  string `json:"detail,omitempty"`
}

// fail says what went wrong and gives the exit code. The operator at the
// terminal sees the operation and the cause; the sentence comes first.
func (c *call) fail(err error) int {
	code := exitCode(err)
	msg, detail := explain(err)
	if code == exitInterrupted {
		msg, detail = "interrupted", ""
	}
	if c.flags.JSON {
		kind := fault.KindOf(err).String()
		if code == exitLevel {
			kind = "level"
		}
		_ = json.NewEncoder(c.err).Encode(map[string]any{ // there is nowhere left to complain
			"error": errorJSON{Code: code, Kind: kind, Message: msg, Detail: detail},
		})
		return code
	}
	fmt.Fprintln(c.err, "sallyport: "+visibleLines(msg))
	if detail != "" {
		fmt.Fprintln(c.err, "  at: "+visibleLines(detail))
	}
	return code
}

// explain splits an error into the sentence and the detail behind it.
func explain(err error) (msg, detail string) {
	var many config.Errors
	var one *config.Error
	switch {
	case errors.As(err, &many):
		return many.Error(), ""
	case errors.As(err, &one):
		return one.Error(), ""
	}
	full := err.Error()
	if l, ok := errors.AsType[levelError](err); ok {
		return fmt.Sprintf("warning level %d is at or above --fail-level %d", l.level, l.limit), ""
	}
	fe, ok := errors.AsType[*fault.Error](err)
	if !ok {
		return full, ""
	}
	if public := publicIn(fe); public != "" {
		// What is left of the chain is where it happened and what caused it.
		rest := strings.TrimSuffix(strings.Replace(full, public, "", 1), ": ")
		rest = strings.ReplaceAll(rest, ": : ", ": ")
		if fe.Kind == fault.Usage && fe.Err == nil {
			rest = ""
		}
		return public, rest
	}
	return full, ""
}

// publicIn gives the first public sentence of a chain.
func publicIn(e *fault.Error) string {
	for e != nil {
		if e.Public != "" {
			return e.Public
		}
		next, ok := errors.AsType[*fault.Error](e.Err)
		if !ok {
			return ""
		}
		e = next
	}
	return ""
}
