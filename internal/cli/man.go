package cli

import (
	"fmt"
	"strings"

	"github.com/alecthomas/kong"
)

// manCmd is `sallyport man`.
type manCmd struct{}

// Help teaches.
func (manCmd) Help() string {
	return "Examples:\n  sallyport man | man -l -\n  sallyport man > /usr/local/share/man/man1/sallyport.1"
}

// Run writes the page, made from the same tree as the help.
func (manCmd) Run(c *call) error {
	parser, err := c.whole()
	if err != nil {
		return err
	}
	var b strings.Builder
	app := parser.Model
	first, rest, _ := strings.Cut(description, "\n\n")
	fmt.Fprintf(&b, ".TH SALLYPORT 1 \"\" \"sallyport %s\" \"User Commands\"\n", roff(buildVersion(c.ctx).Version))
	b.WriteString(".SH NAME\nsallyport \\- run AI agents behind one guarded door\n")
	b.WriteString(".SH SYNOPSIS\n.B sallyport\nCOMMAND [\\fIARGUMENTS\\fR] [\\fIFLAGS\\fR]\n")
	fmt.Fprintf(&b, ".SH DESCRIPTION\n%s\n.PP\n%s\n", roff(first), roff(rest))
	b.WriteString(".SH GLOBAL FLAGS\n")
	manFlags(&b, app.Flags)
	b.WriteString(".SH COMMANDS\n")
	for _, leaf := range app.Leaves(true) {
		manCommand(&b, leaf)
	}
	for _, name := range []string{"exit-codes", "environment", "files"} {
		_, body, _ := strings.Cut(topics()[name], "\n\n")
		fmt.Fprintf(&b, ".SH %s\n.nf\n%s\n.fi\n", strings.ToUpper(strings.ReplaceAll(name, "-", " ")), roff(strings.TrimRight(body, "\n")))
	}
	c.printf("%s", b.String())
	return nil
}

func manCommand(b *strings.Builder, n *kong.Node) {
	fmt.Fprintf(b, ".SS \"%s\"\n%s\n", roff(n.FullPath()), roff(n.Help))
	for _, p := range n.Positional {
		fmt.Fprintf(b, ".TP\n.I %s\n%s\n", roff(p.Summary()), roff(p.Help))
	}
	manFlags(b, n.Flags)
	for p := n; p != nil; p = p.Parent {
		if p.Detail != "" && p.Type == kong.CommandNode {
			fmt.Fprintf(b, ".PP\n.nf\n%s\n.fi\n", roff(p.Detail))
			break
		}
	}
}

func manFlags(b *strings.Builder, flags []*kong.Flag) {
	for _, f := range flags {
		if !f.Hidden {
			fmt.Fprintf(b, ".TP\n.B %s\n%s\n", roff(f.String()), roff(f.Help))
		}
	}
}

// roff escapes text so that no line is a request.
func roff(s string) string {
	s = strings.NewReplacer(`\`, `\e`, "-", `\-`).Replace(s)
	lines := strings.Split(s, "\n")
	for i, l := range lines {
		if strings.HasPrefix(l, ".") || strings.HasPrefix(l, "'") {
			lines[i] = `\&` + l
		}
	}
	return strings.Join(lines, "\n")
}
