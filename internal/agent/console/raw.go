package console

import (
	"fmt"
	"os"

	"golang.org/x/term"
)

// RawMode gives the Raw function of a Terminal on a file: keys come one by one,
// without echo, until restore.
func RawMode(f *os.File) func() (restore func(), err error) {
	return func() (func(), error) {
		fd := int(f.Fd())
		old, err := term.MakeRaw(fd)
		if err != nil {
			return nil, fmt.Errorf("console.raw: %w", err)
		}
		return func() {
			// There is nobody to tell if the terminal is gone by now.
			_ = term.Restore(fd, old)
		}, nil
	}
}

// Width gives a function that tells a terminal's columns, 80 if it cannot.
func Width(f *os.File) func() int {
	return func() int {
		w, _, err := term.GetSize(int(f.Fd()))
		if err != nil || w < 20 {
			return 80
		}
		return w
	}
}

// IsTerminal reports whether a person may be at the file.
func IsTerminal(f *os.File) bool { return term.IsTerminal(int(f.Fd())) }
