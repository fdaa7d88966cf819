package agent

import (
	"math"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Built-ins of the shell that Sallyport carries out itself. Their arguments
// never reach a shell.
var (
	quotedBuiltins = []string{"comment", "endsession", "talk"}
	lineBuiltins   = []string{"comment", "endsession", "talk", "pause", "cost", "context", "exit"}
)

// builtins are the words that a reply is split by: those of every shell, and
// those of an organisation.
type builtins struct{ house bool }

// quoted tells whether a built-in's text may go over several lines, and whether
// words may stand before it.
func (b builtins) quoted(name string) (quoted, afterWords bool) {
	if b.house && slices.Contains(houseWords, name) {
		return true, true
	}
	return slices.Contains(quotedBuiltins, name), false
}

func (b builtins) line(name string) bool {
	return slices.Contains(lineBuiltins, name) || b.house && slices.Contains(houseWords, name)
}

// maxPause bounds a pause; what is longer is a mistake in the number.
const maxPause = 31 * 24 * time.Hour

// parsePause reads the argument of pause: seconds, fractions allowed, or
// nothing. ok is false if the argument is no such number.
func parsePause(arg string) (d *time.Duration, ok bool) {
	arg = strings.TrimSuffix(unquote(arg), "s")
	if arg == "" {
		return nil, true
	}
	f, err := strconv.ParseFloat(arg, 64)
	if err != nil || math.IsNaN(f) || f < 0 || f > maxPause.Seconds() {
		return nil, false
	}
	p := time.Duration(f * float64(time.Second))
	return &p, true
}

// unusable says why a script cannot work in this shell, or "": programs that
// need a terminal are named by their first word, which is all that a hint needs
// to see. The sandbox bounds them anyway.
func unusable(script string) string {
	fields := strings.Fields(script)
	if len(fields) == 0 {
		return ""
	}
	if strings.HasPrefix(fields[0], "```") {
		return "Nothing was run: your answer is in a code fence. Send the bare command."
	}
	switch name := path.Base(fields[0]); name {
	case "vi", "vim", "nano", "emacs", "pico":
		return name + " needs a terminal and was not started. Read with cat, head or sed; write with: cat > file <<'EOF'"
	case "lynx":
		for _, f := range fields[1:] {
			if f == "--dump" || f == "-dump" {
				return ""
			}
		}
		return "lynx needs a terminal and was not started. Use: lynx --dump URL"
	case "exit", "logout":
		return exitHint
	}
	return ""
}

const (
	commentReply  = "Comment noted. Go on with a command."
	exitHint      = `To end this session use: endsession "note for the next session"`
	endUsage      = `The session goes on: endsession needs a note. Use: endsession "what the next session must know"`
	pauseUsage    = "pause takes seconds, such as: pause 60"
	pauseAlone    = "Nobody is here to wake you: give the seconds, such as: pause 60"
	operatorsOnly = " is for the operator's prompt only."
	talkAbove     = "Rule of the organisation: only the first tier talks to people; write to the tier above with send."
	noShell       = "[there is no shell here: use the commands of the first message]"
	mixedHint     = "[comment, endsession, pause and talk are no programs: send them at the start of an answer]"
)

// mixes reports whether a later line of a script calls a built-in, which the
// shell cannot find.
func mixes(script string) bool {
	_, rest, _ := strings.Cut(script, "\n")
	for line := range strings.Lines(rest) {
		switch name, _ := word(strings.TrimSpace(line)); name {
		case "comment", "endsession", "pause", "talk":
			return true
		}
	}
	return false
}
