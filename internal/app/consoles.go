package app

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"sallyport/internal/agent"
	"sallyport/internal/agent/console"
)

// Consoles gives RunOptions.Console for these streams. Where both are a
// terminal, one agent gets the console of a person, whose keys stop timers and
// who sees a status line; several agents, pipes and a run that nobody attends
// get plain lines. in is read only by the console of a single attended agent.
// Unless whole is set, long scripts and outputs are folded: `sessions show` has
// them whole.
func Consoles(in io.Reader, out io.Writer, attended, color, whole bool) func(prefix string) Console {
	shared := console.Shared(out)
	open := func(prefix string) Console {
		inFile, ok1 := in.(*os.File)
		outFile, ok2 := out.(*os.File)
		if prefix != "" || !attended {
			in = nil
		}
		if in == nil || !ok1 || !ok2 || !console.IsTerminal(inFile) || !console.IsTerminal(outFile) {
			return console.NewPlain(in, shared, prefix)
		}
		return console.NewTerminal(console.Settings{
			In: in, Out: out, Raw: console.RawMode(inFile), Width: console.Width(outFile), Color: color,
		})
	}
	if whole {
		return open
	}
	return func(prefix string) Console { return folding{open(prefix)} }
}

// folding shows the beginning and the end of what is long.
type folding struct{ Console }

// Lines of a folded text, and the length up to which none is folded.
const (
	foldHead, foldTail = 6, 3
	foldOver           = 14
)

// Print implements agent.Console.
func (f folding) Print(v agent.Voice, text string) {
	if v == agent.FromModel || v == agent.FromCommand {
		text = fold(text)
	}
	f.Console.Print(v, text)
}

func fold(text string) string {
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	n := len(lines)
	if n <= foldOver {
		return text
	}
	more := fmt.Sprintf("[... %d lines more: -v shows them here, `sallyport sessions show` afterwards ...]", n-foldHead-foldTail)
	return strings.Join(slices.Concat(lines[:foldHead], []string{more}, lines[n-foldTail:]), "\n")
}
