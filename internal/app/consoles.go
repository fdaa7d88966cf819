package app

import (
	"io"
	"os"

	"sallyport/internal/agent/console"
)

// Consoles gives RunOptions.Console for these streams. Where both are a
// terminal, one agent gets the console of a person, whose keys stop timers and
// who sees a status line; several agents, pipes and a run that nobody attends
// get plain lines. in is read only by the console of a single attended agent.
func Consoles(in io.Reader, out io.Writer, attended, color bool) func(prefix string) Console {
	shared := console.Shared(out)
	return func(prefix string) Console {
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
}
