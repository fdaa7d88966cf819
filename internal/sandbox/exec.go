package sandbox

// Command is one program to run in a sandbox.
type Command struct {
	// Argv is the program and its arguments. A name without a slash is looked up
	// inside the view, in the absolute directories of PATH in Env; one with a
	// slash is taken as it is, relative to Dir.
	Argv []string
	Env  []string // the whole environment, "NAME=value"; nil: the Spec's
	Dir  string   // working directory inside; empty: Spec.Workdir, else Spec.Home, else /
	TTY  *WinSize // a terminal of its own, of this size at first; nil: three pipes
}

// WinSize is the size of a terminal in characters.
type WinSize struct{ Rows, Cols uint16 }

// ExitStatus is how a program ended.
type ExitStatus struct {
	Code   int    // 0-255; 128 and the signal's number when a signal ended it; -1 when it is not known
	Signal string // "SIGKILL" ... when a signal ended it, else empty
}
