package cli

import (
	"errors"
	"fmt"
	"strings"

	"github.com/alecthomas/kong"

	"sallyport/internal/fault"
)

// errHelpShown ends parsing once help was written.
var errHelpShown = errors.New("help was shown")

// helpFlag writes help for the command before it, wherever it stands.
type helpFlag bool

// IgnoreDefault tells kong that the flag has no default to reset.
func (helpFlag) IgnoreDefault() {}

// BeforeReset runs before anything is checked, so that help needs no arguments.
func (helpFlag) BeforeReset(ctx *kong.Context) error {
	if err := ctx.PrintUsage(false); err != nil {
		return err
	}
	return errHelpShown
}

// usageError turns a parser's complaint into a sentence with the next step.
func usageError(err error) error {
	if fault.KindOf(err) != fault.Internal {
		return err // a flag's own check
	}
	next := "sallyport --help"
	var pe *kong.ParseError
	if errors.As(err, &pe) && pe.Context != nil {
		if path := commandPath(pe.Context); path != "" {
			next = "sallyport " + path + " --help"
		}
	}
	msg := strings.ReplaceAll(err.Error(), "\n", " ")
	return fault.New("usage", fault.Usage, "%s; see `%s`", visible(msg), next)
}

func commandPath(ctx *kong.Context) string {
	var words []string
	for _, p := range ctx.Path {
		if p.Command != nil {
			words = append(words, p.Command.Name)
		}
	}
	return strings.Join(words, " ")
}

// topicCmd is `sallyport help [TOPIC|COMMAND…]`.
type topicCmd struct {
	Words []string `arg:"" optional:"" name:"topic" help:"A command, or exit-codes, environment, files."`
}

// Help teaches.
func (topicCmd) Help() string {
	return `Examples:
  sallyport help exit-codes
  sallyport help sessions show`
}

// Run shows a topic or a command's help.
func (t topicCmd) Run(c *call) error {
	words := t.Words
	if len(words) == 1 {
		if text, ok := topics()[words[0]]; ok {
			fmt.Fprint(c.out, text)
			return nil
		}
	}
	parser, err := c.whole()
	if err != nil {
		return err
	}
	_, err = parser.Parse(append(words, "--help"))
	if errors.Is(err, errHelpShown) {
		return nil
	}
	return fault.New("help", fault.NotFound,
		"there is no command or topic %q; the topics are exit-codes, environment and files, and `sallyport --help` lists the commands", strings.Join(words, " "))
}

func topics() map[string]string {
	return map[string]string{"exit-codes": exitCodesText(), "environment": environmentText, "files": filesText}
}

func exitCodesText() string {
	var b strings.Builder
	b.WriteString("Exit codes\n\n")
	for _, r := range exitTable() {
		fmt.Fprintf(&b, "  %3d  %-14s %s\n", r.Code, r.Name, r.Meaning)
	}
	b.WriteString("\nWith --json an error is one JSON object on standard error:\n  {\"error\": {\"code\": 7, \"kind\": \"not-found\", \"message\": \"…\"}}\n")
	return b.String()
}

const environmentText = `Environment

  SALLYPORT_HOME     state directory when --home is not given
  NAISYS_FOLDER      folder of agent homes and reports; default: the state directory
  OPENAI_API_KEY, ANTHROPIC_API_KEY, GOOGLE_API_KEY
                     keys of the providers that models: names and that
                     ` + "`" + `sallyport proxy` + "`" + ` calls; never shown, never given to a shell
  NO_COLOR           no colour when set to anything
  COLUMNS            width of tables on a terminal

A .env file beside the agent file, or in the state directory, may set
all but SALLYPORT_HOME, NO_COLOR and COLUMNS; the environment wins. The .env of the
working directory is not read: it may belong to what an agent works on.
`

const filesText = `Files, below the state directory unless said otherwise

  sallyport.yaml       configuration, when none lies beside the agent file
  .env                 keys and variables (mode 600)
  state.db             events and the verifiable log
  keys/owner           signs the operator's approvals
  keys/log.key         signs the log's checkpoints; keys/log.pub verifies them
  alerts.lock          held by the process that watches and raises alerts
  home/AGENT/          an agent's own files
  logs/agent.log       readable log, JSON lines, rotated
  security_reports/    what patrols found: DATE-levelN-HOST.txt and .json

The state directory must be yours and closed to others (mode 0700), else nothing
is opened. NAISYS_FOLDER moves home/ and security_reports/ elsewhere.
`
