package cli

import (
	"cmp"
	"context"
	"errors"
	"io"
	"os"
	"os/signal"
	"reflect"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

// globals are the flags that every command takes.
type globals struct {
	Help    helpFlag `short:"h" help:"Show help for a command and end."`
	Home    string   `placeholder:"DIR" help:"State directory; default: $SALLYPORT_HOME, else ~/.sallyport."`
	Config  string   `placeholder:"FILE" help:"Configuration; default: sallyport.yaml beside the agent file, else in the state directory."`
	JSON    bool     `name:"json" help:"Write JSON with stable names and UTC times instead of text."`
	NoColor bool     `help:"No colour; also when NO_COLOR is set or output is piped."`
	Verbose bool     `short:"v" help:"Say more: causes of errors, notices, ids."`
}

// commands is the tree of commands. The order is the order of the help page.
type commands struct {
	globals

	Run    runCmd    `cmd:"" group:"start" help:"Run an agent file, or a directory of them."`
	Guard  guardCmd  `cmd:"" group:"start" help:"Run any program as an agent that nobody trusts."`
	Proxy  proxyCmd  `cmd:"" group:"start" help:"Judge and record every call of any client to its model."`
	Init   initCmd   `cmd:"" group:"start" help:"Write a commented default configuration and the state directory."`
	Config configCmd `cmd:"" group:"start" help:"Check, show or describe the configuration."`
	Models modelsCmd `cmd:"" group:"start" help:"List model names, prices and what each may receive."`
	Doctor doctorCmd `cmd:"" group:"start" help:"Check this machine, the configuration and the permissions."`

	Status   statusCmd   `cmd:"" group:"watch" help:"Show what runs, what waits and how the log stands."`
	Events   eventsCmd   `cmd:"" group:"watch" help:"Show what happened: asked, decided, done, said."`
	Explain  explainCmd  `cmd:"" group:"watch" help:"Say why something was allowed, asked or denied."`
	Alerts   alertsCmd   `cmd:"" group:"watch" help:"List what needs somebody's eye, and say who deals with it."`
	Sessions sessionsCmd `cmd:"" group:"watch" help:"List sessions and show a whole one."`
	Replay   replayCmd   `cmd:"" group:"watch" help:"Play what a guarded program showed."`
	Reports  reportsCmd  `cmd:"" group:"watch" help:"List and show the security reports."`
	Cost     costCmd     `cmd:"" group:"watch" help:"Sum what models cost."`
	Logs     logsCmd     `cmd:"" group:"watch" help:"Show the readable log."`

	Stop      stopCmd      `cmd:"" group:"steer" help:"Stop an agent or all of them, even one that hangs."`
	Approvals approvalsCmd `cmd:"" group:"steer" help:"List what waits for an answer."`
	Approve   approveCmd   `cmd:"" group:"steer" help:"Sign a yes to one exact action."`
	Deny      denyCmd      `cmd:"" group:"steer" help:"Sign a no."`
	Grants    grantsCmd    `cmd:"" group:"steer" help:"List standing permissions."`
	Grant     grantCmd     `cmd:"" group:"steer" help:"Give a standing permission."`
	Revoke    revokeCmd    `cmd:"" group:"steer" help:"End a standing permission."`

	Instruct instructCmd `cmd:"" group:"steer" help:"Sign an order to an agent."`
	Trust    trustCmd    `cmd:"" group:"steer" help:"Say whose signatures count: people, keys, groups."`

	Keys    keysCmd    `cmd:"" group:"steer" help:"Make, list and end API keys of clients."`
	Changes changesCmd `cmd:"" group:"steer" help:"Review, commit or discard what guarded programs wrote."`

	Folders foldersCmd `cmd:"" group:"steer" help:"List labelled folders, and what directories that sessions wrote hold."`

	Data    dataCmd    `cmd:"" group:"steer" help:"Seal, open, label and erase classified items."`
	Backup  backupCmd  `cmd:"" group:"steer" help:"Seal the whole state directory to a recipient."`
	Restore restoreCmd `cmd:"" group:"steer" help:"Restore a backup into an empty place."`

	Policy policyCmd `cmd:"" group:"prove" help:"Show, test and explain the rules."`
	Verify verifyCmd `cmd:"" group:"prove" help:"Prove that the log, or an export of it, is complete and unchanged."`
	Log    logCmd    `cmd:"" group:"prove" help:"Show or export the verifiable log."`

	Scan     scanCmd     `cmd:"" group:"prove" help:"Look for secrets, orders and hidden text in a file."`
	Selftest selftestCmd `cmd:"" group:"prove" help:"Make the known attacks against this machine's sandbox."`

	Version    versionCmd    `cmd:"" group:"other" help:"Show the version."`
	Completion completionCmd `cmd:"" group:"other" help:"Write a completion script for bash, zsh or fish."`
	Man        manCmd        `cmd:"" group:"other" help:"Write the manual page."`
	HelpCmd    topicCmd      `cmd:"" name:"help" group:"other" help:"Explain a command or a topic: exit-codes, environment, files."`
}

// groups order the help page.
var groups = []kong.Group{
	{Key: "start", Title: "Start:"},
	{Key: "watch", Title: "Watch:"},
	{Key: "steer", Title: "Steer:"},
	{Key: "prove", Title: "Rules and proof:"},
	{Key: "other", Title: "Other:"},
}

const runName = "run <path>"

const description = `Runs AI agents behind one guarded door: each effect is judged by policy, confined by the kernel and recorded in a log that verifies offline.

First run: sallyport run examples/nightwatch.yaml --once`

// Run runs one command line: args without the program's name, environ as
// NAME=value. It gives the exit code and never ends the process.
func Run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer, environ []string) int {
	var tree commands
	out := &output{w: stdout}
	c := &call{ctx: ctx, in: stdin, out: out, raw: stdout, err: stderr, environ: environ, flags: &tree.globals}
	if len(args) == 0 {
		args = []string{"--help"}
	}
	parsed, err := parse(&tree, c, args)
	if errors.Is(err, errHelpShown) {
		return c.written(out)
	}
	if err != nil {
		// The flag may stand behind the mistake: look for it in the words.
		for _, a := range args {
			tree.JSON = tree.JSON || a == "--json"
		}
		return c.fail(usageError(err))
	}
	c.command = parsed.Command()
	c.look()
	if c.command != runName { // a run handles the key itself: the first press ends a command, not the run
		var stop context.CancelFunc
		c.ctx, stop = signal.NotifyContext(ctx, os.Interrupt)
		defer stop()
	}
	if err := parsed.Run(c); err != nil && out.failed == nil {
		if p, ok := errors.AsType[programError](err); ok {
			return p.code // it has said itself what there is to say
		}
		return c.fail(err)
	}
	return c.written(out)
}

// parse parses a command line. To build the model of all commands takes longer
// than most commands run, so that of the one which is named first is tried alone.
// What it cannot parse, and what asks for help, is for the whole: it knows what
// else there is.
func parse(tree *commands, c *call, args []string) (*kong.Context, error) {
	if one := tree.named(args[0]); one != nil && !slices.ContainsFunc(args, asksHelp) {
		parser, err := kong.New(&tree.globals, append(parserOptions(c), one)...)
		if err == nil {
			if parsed, err := parser.Parse(args); err == nil {
				return parsed, nil
			}
		}
		*tree = commands{} // it may have been parsed in part
	}
	parser, err := newParser(tree, c)
	if err != nil {
		return nil, err
	}
	return parser.Parse(args)
}

// asksHelp reports whether a word may be the flag for help, alone or among
// other short ones.
func asksHelp(word string) bool {
	return word == "--help" || strings.HasPrefix(word, "-") && !strings.HasPrefix(word, "--") && strings.Contains(word, "h")
}

// named gives the command of that name as the only one of a parser, nil if
// there is none.
func (t *commands) named(word string) kong.Option {
	v := reflect.ValueOf(t).Elem()
	for f, value := range v.Fields() {
		if _, ok := f.Tag.Lookup("cmd"); !ok || word != cmp.Or(f.Tag.Get("name"), strings.ToLower(f.Name)) {
			continue
		}
		return kong.DynamicCommand(word, f.Tag.Get("help"), f.Tag.Get("group"), value.Addr().Interface(), string(f.Tag))
	}
	return nil
}

// newParser makes the parser of all commands.
func newParser(tree *commands, c *call) (*kong.Kong, error) {
	return kong.New(tree, parserOptions(c)...)
}

// whole gives the parser of all commands to one that tells about them.
func (c *call) whole() (*kong.Kong, error) { return newParser(&commands{}, c) }

func parserOptions(c *call) []kong.Option {
	return []kong.Option{
		kong.Name("sallyport"), kong.Description(description),
		kong.Writers(c.out, c.err), kong.NoDefaultHelp(),
		kong.ExplicitGroups(groups),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, NoExpandSubcommands: true, WrapUpperBound: 100}),
		kong.Exit(func(int) {}), // help is an error here (errHelpShown), so nothing exits
		kong.Bind(c),
	}
}
