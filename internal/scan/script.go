package scan

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"sallyport/internal/scan/command"
)

// script collects what the programs of one show.
type script struct {
	found   map[string]string // rule to detail, the first of each
	fetched []string          // what was fetched, by what it may be called
	fetches string            // where
	decodes string            // where
	runs    bool              // a script that comes from elsewhere
}

func (s *script) note(id, detail string) {
	if _, ok := s.found[id]; !ok {
		s.found[id] = detail
	}
}

// shell judges the programs of a script.
func (e *Engine) shell(text string) []Finding {
	parsed := command.Parse(text)
	s := script{found: map[string]string{}}
	for _, p := range parsed.Programs {
		s.program(p)
	}
	for _, c := range []struct {
		holds      bool
		id, detail string
	}{
		{bareDevice.MatchString(text), "call.destructive", "a device is written over"},
		{forkBomb.MatchString(text), "call.destructive", "a function that starts itself without end"},
		{strings.Contains(text, "/dev/tcp/") || strings.Contains(text, "/dev/udp/"), "call.sends", "a shell's own connection"},
		{s.fetches != "" && s.runs, "call.fetch-and-run", s.fetches},
		{s.decodes != "" && s.runs, "call.decode-and-run", s.decodes},
		{parsed.Unresolved, "call.unresolved", ""},
	} {
		if c.holds {
			s.note(c.id, c.detail)
		}
	}
	var out []Finding
	for _, id := range slices.Sorted(maps.Keys(s.found)) {
		out = append(out, e.parsed(id, 0, max(1, len(text)), s.found[id]))
	}
	return out
}

// program judges one of them.
func (s *script) program(p command.Program) {
	where := fmt.Sprintf("line %d: %s", p.Line, p.Name)
	if disguised(p) {
		s.note("call.disguised", where)
	}
	switch name := strings.ToLower(p.Name); {
	case destroys(name, p.Args):
		s.note("call.destructive", where)
	case name == "nc" || name == "ncat" || name == "socat" || name == "telnet":
		s.note("call.sends", where)
	case name == "curl" || name == "wget":
		s.fetches, s.fetched = where, append(s.fetched, p.Args...)
		if uploads(p.Args) {
			s.note("call.sends", where)
		}
	case decoder(name, p.Args):
		s.decodes = where
	case s.fetches != "" && runsFetched(p, s.fetched):
		s.note("call.fetch-and-run", s.fetches)
	case runner(name):
		s.runs = s.runs || fed(p.Args)
	}
}

var (
	bareDevice = regexp.MustCompile(`>\|?\s*/dev/(sd[a-z]|nvme\d|vd[a-z]|hd[a-z]|xvd[a-z]|mmcblk\d|mem\b)`)
	forkBomb   = regexp.MustCompile(`([\w:]+)\s*\(\)\s*\{\s*([\w:]+)\s*\|\s*([\w:]+)\s*&\s*\}`)
)

// decoder reports a program that turns unreadable bytes into a script.
func decoder(name string, args []string) bool {
	has := func(flags ...string) bool {
		return slices.ContainsFunc(args, func(a string) bool { return slices.Contains(flags, a) })
	}
	switch name {
	case "base64", "base32", "basenc":
		return has("-d", "-D", "--decode", "-di", "-id") || slices.ContainsFunc(args, func(a string) bool { return strings.HasPrefix(a, "--d") })
	case "xxd":
		return slices.ContainsFunc(args, func(a string) bool { return len(a) > 1 && a[0] == '-' && strings.Contains(a, "r") })
	case "openssl":
		return has("enc", "base64") && has("-d")
	case "rev", "uudecode":
		return true
	case "tr":
		return len(args) == 2 && len(args[0]) > 2 && ranges(args[0]) && ranges(args[1]) && !strings.EqualFold(args[0], args[1])
	}
	return false
}

// ranges reports a set of letters as tr takes it.
func ranges(set string) bool {
	return !strings.ContainsFunc(set, func(r rune) bool { return r != '-' && r|0x20-'a' > 25 })
}

// runner reports a program that reads and runs a script.
func runner(name string) bool {
	switch name {
	case "sh", "bash", "zsh", "dash", "ksh", "ash", "perl", "node", "ruby", "php", "eval", "source", ".":
		return true
	}
	return strings.HasPrefix(name, "python")
}

// fed reports arguments that name no file of a script: it comes through a pipe,
// with -c, or from what is known only when it runs.
func fed(args []string) bool {
	for _, a := range args {
		switch {
		case a == "-c" || a == "-e" || strings.Contains(a, "\u2026"):
			return true
		case a != "" && a[0] != '-' && a[0] != '+':
			return false
		}
	}
	return true
}

// runsFetched reports a program, or the script of one, that has the name of
// what was fetched.
func runsFetched(p command.Program, fetched []string) bool {
	names := []string{p.Name}
	if runner(strings.ToLower(p.Name)) && len(p.Args) > 0 {
		names = append(names, p.Args[0][strings.LastIndexByte(p.Args[0], '/')+1:])
	}
	return slices.ContainsFunc(fetched, func(f string) bool {
		return f != "" && f[0] != '-' && slices.Contains(names, f[strings.LastIndexByte(f, '/')+1:])
	})
}

// wide reports a path that takes a whole system or home with it.
func wide(a string) bool {
	a = strings.TrimRight(a, "/*")
	return a == "" || a == "~" || a == "." || a == ".." || a == "$HOME" || strings.HasPrefix(a, "/") && strings.Count(a, "/") == 1 || strings.HasPrefix(a, "~/") && strings.Count(a, "/") == 1
}

func destroys(name string, args []string) bool {
	has := func(f func(string) bool) bool { return slices.ContainsFunc(args, f) }
	deep := func() bool {
		return has(func(a string) bool {
			return a == "--recursive" || len(a) > 1 && a[0] == '-' && a[1] != '-' && strings.ContainsAny(a, "rR")
		})
	}
	root := func(a string) bool { return wide(a) && a != "." && a != "./" && a != "*" }
	switch {
	case name == "mkfs" || strings.HasPrefix(name, "mkfs.") || name == "wipefs" || name == "shred":
		return true
	case name == "dd":
		return has(func(a string) bool { return strings.HasPrefix(a, "of=/dev/") && !strings.HasPrefix(a, "of=/dev/null") })
	case name == "rm":
		return deep() && has(wide)
	case name == "chmod" || name == "chown":
		return deep() && has(root)
	case name == "find":
		return has(root) && has(func(a string) bool { return a == "-delete" || a == "rm" }) && !has(func(a string) bool {
			return a == "-name" || a == "-iname" || a == "-path" || a == "-empty" || a == "-mtime"
		})
	}
	return false
}

// disguised reports a program whose name is hidden from a reader: written in
// letters that only look plain, or known only when it runs although what
// follows are the flags of a removal of whole trees.
func disguised(p command.Program) bool {
	if !p.Dynamic {
		plain := plainly(p.Name)
		return plain != strings.ToLower(p.Name) && plain != "" && isASCII(plain)
	}
	deep, hard, operand := false, false, false
	for _, a := range p.Args {
		short := len(a) > 1 && len(a) < 8 && a[0] == '-' && a[1] != '-'
		deep = deep || a == "--recursive" || short && strings.ContainsAny(a, "rR")
		hard = hard || a == "--force" || short && strings.Contains(a, "f")
		operand = operand || a != "" && a[0] != '-'
	}
	return deep && hard && operand
}

func isASCII(text string) bool {
	return !strings.ContainsFunc(text, func(r rune) bool { return r > '~' })
}

func uploads(args []string) bool {
	for i, a := range args {
		switch {
		case a == "-T", a == "--upload-file", strings.HasPrefix(a, "--post-file"), strings.HasPrefix(a, "--body-file"):
			return true
		case a == "-d", a == "--data", a == "--data-binary", a == "-F", a == "--form", a == "--data-raw", a == "--data-urlencode":
			if i+1 < len(args) && strings.Contains(args[i+1], "@") {
				return true
			}
		}
	}
	return false
}
