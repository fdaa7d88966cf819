package command

import (
	"strings"
)

var shells = map[string]bool{"sh": true, "bash": true, "dash": true, "ash": true, "zsh": true, "ksh": true, "mksh": true, "rbash": true}

// wrapper is a program that runs another one named in its arguments.
type wrapper struct {
	values  string // letters of short options that take a value
	long    string // long options that take a value, separated by spaces
	skip    int    // operands before the command
	assigns bool   // NAME=value operands may come first
	open    bool   // further arguments come from elsewhere
}

var wrappers = map[string]wrapper{
	"env":      {values: "uC", long: "--unset --chdir", assigns: true},
	"sudo":     {values: "ugpCDRTUrthc", long: "--user --group --prompt --chdir --chroot --host --role --type", assigns: true},
	"doas":     {values: "uC"},
	"pkexec":   {long: "--user"},
	"nohup":    {},
	"setsid":   {},
	"command":  {},
	"builtin":  {},
	"exec":     {values: "a"},
	"time":     {values: "fo"},
	"nice":     {values: "n", long: "--adjustment"},
	"ionice":   {values: "cnp", long: "--class --classdata"},
	"chrt":     {skip: 1},
	"taskset":  {skip: 1},
	"stdbuf":   {values: "ioe", long: "--input --output --error"},
	"timeout":  {values: "sk", long: "--signal --kill-after", skip: 1},
	"chroot":   {skip: 1, long: "--userspec --groups"},
	"unshare":  {values: "SG", long: "--setuid --setgid --root --wd"},
	"setpriv":  {long: "--reuid --regid --groups --inh-caps --bounding-set"},
	"watch":    {values: "n", long: "--interval"},
	"strace":   {values: "aeEIoOpPsSuUX"},
	"ltrace":   {values: "aeolnpsuA"},
	"busybox":  {},
	"toybox":   {},
	"linux32":  {},
	"linux64":  {},
	"fakeroot": {},
	"proot":    {},
	"xargs":    {values: "aEdIiLnPs", long: "--arg-file --delimiter --max-args --max-procs --max-lines --replace --max-chars", open: true},
	"parallel": {values: "jNnI", open: true},
	"flock":    {values: "wE", long: "--timeout --conflict-exit-code", skip: 1},
	"systemd-run": {
		values: "puHMtE", long: "--property --unit --slice --description --uid --gid --nice --working-directory --setenv --host --machine",
	},
}

// rest gives the wrapped command.
func (w wrapper) rest(fs []field) []field {
	skip := w.skip
	for len(fs) > 0 {
		t := fs[0].text
		switch {
		case t == "--":
			fs = fs[1:]
			if skip <= len(fs) {
				return fs[skip:]
			}
			return nil
		case len(t) > 1 && t[0] == '-':
			fs = fs[w.width(t, len(fs)):]
		case w.assigns && isAssignment(t):
			fs = fs[1:]
		case skip > 0:
			skip--
			fs = fs[1:]
		default:
			return fs
		}
	}
	return nil
}

// width tells how many fields an option takes: two if its value is separate.
func (w wrapper) width(opt string, left int) int {
	n := 1
	if strings.HasPrefix(opt, "--") {
		for l := range strings.FieldsSeq(w.long) {
			if opt == l {
				n = 2
			}
		}
	} else if i := strings.IndexAny(opt[1:], w.values); w.values != "" && i >= 0 && i == len(opt)-2 {
		n = 2 // the letter is last, so the value follows
	}
	return min(n, left)
}

func isAssignment(s string) bool {
	name, _, ok := strings.Cut(s, "=")
	if !ok || name == "" || name[0] >= '0' && name[0] <= '9' {
		return false
	}
	for _, c := range name {
		if c != '_' && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') {
			return false
		}
	}
	return true
}

// run takes one command apart until the program that does the work is found.
// Wrappers are programs too and are listed themselves.
func (r *reader) run(fs []field, open bool) {
	if len(fs) == 0 {
		return
	}
	if r.depth >= maxDepth*2 {
		r.unresolved("commands nested beyond what is read")
		return
	}
	r.depth++
	defer func() { r.depth-- }()
	p := r.program(fs, open)
	r.out.Programs = append(r.out.Programs, p)
	if p.Dynamic {
		r.unresolved("the program's name is known only when it runs")
		return
	}
	args := fs[1:]
	switch name := p.Name; {
	case shells[name] || name == "su" || name == "runuser":
		r.shell(args, name)
	case name == "eval":
		r.eval(args, "eval")
	case name == "trap" && len(args) > 1:
		r.eval(args[:1], "trap")
	case name == "alias":
		r.alias(args)
	case name == "find" || name == "fd":
		r.find(args)
	case name == "systemctl":
		r.systemctl(args)
	case name == "env":
		r.env(args)
	case name == "command" && len(args) > 0 && (args[0].text == "-v" || args[0].text == "-V"):
	case name == "flock" && optionValue(args, 'c') >= 0:
		r.eval(args[optionValue(args, 'c'):], "flock -c")
	case name == "watch" || name == "parallel": // they hand their arguments to a shell
		r.eval(wrappers[name].rest(args), name)
	default:
		if w, ok := wrappers[name]; ok {
			r.run(w.rest(args), open || w.open)
		}
	}
}

func (r *reader) program(fs []field, open bool) Program {
	p := Program{Name: base(fs[0].text), Line: r.line(), Dynamic: fs[0].dynamic || fs[0].glob, Open: open}
	p.start, p.end = r.span()
	for _, f := range fs[1:] {
		p.Args = append(p.Args, f.text)
		p.Open = p.Open || f.dynamic
	}
	return p
}

// shell reads sh -c 'script'; su and runuser hand theirs to a shell.
func (r *reader) shell(args []field, name string) {
	if i := optionValue(args, 'c'); i >= 0 {
		if i >= len(args) {
			return
		}
		r.eval(args[i:i+1], name+" -c")
	}
}

// optionValue gives the index of the argument that follows a cluster with this
// letter, such as -c or -lc; -1 if there is none.
func optionValue(args []field, letter byte) int {
	for i, f := range args {
		t := f.text
		if t == "--command" && letter == 'c' {
			return i + 1
		}
		if len(t) > 1 && t[0] == '-' && t[1] != '-' && strings.IndexByte(t[1:], letter) >= 0 {
			return i + 1
		}
	}
	return -1
}

// eval reads words that become a script.
func (r *reader) eval(args []field, what string) {
	if len(args) == 0 {
		return
	}
	text, ok := join(args)
	if !ok {
		r.unresolved(what + " runs text that is known only when it runs")
		return
	}
	r.script(text)
}

func (r *reader) alias(args []field) {
	for _, a := range args {
		if _, body, ok := strings.Cut(a.text, "="); ok {
			r.eval([]field{{text: body, dynamic: a.dynamic}}, "alias")
		}
	}
}

// find reads the commands of -exec and its relatives.
func (r *reader) find(args []field) {
	for i := 0; i < len(args); i++ {
		switch args[i].text {
		case "-exec", "-execdir", "-ok", "-okdir", "-x", "--exec", "-X", "--exec-batch":
			end := i + 1
			for end < len(args) && args[end].text != ";" && args[end].text != "+" {
				end++
			}
			r.run(args[i+1:end], true)
			i = end
		}
	}
}

// systemctl can do what reboot and shutdown do.
func (r *reader) systemctl(args []field) {
	for _, a := range args {
		switch a.text {
		case "reboot", "poweroff", "halt", "kexec":
			r.out.Programs = append(r.out.Programs, Program{Name: a.text, Line: r.line()})
		}
	}
}

// env knows -S, whose value is split in words.
func (r *reader) env(args []field) {
	for i, a := range args {
		t := a.text
		switch {
		case t == "-S" || t == "--split-string":
			r.eval(args[i+1:], "env -S")
			return
		case strings.HasPrefix(t, "--split-string="):
			r.eval(append([]field{{text: t[len("--split-string="):], dynamic: a.dynamic}}, args[i+1:]...), "env -S")
			return
		case strings.HasPrefix(t, "-S"):
			r.eval(append([]field{{text: t[2:], dynamic: a.dynamic}}, args[i+1:]...), "env -S")
			return
		case !strings.HasPrefix(t, "-") && !isAssignment(t):
			r.run(wrappers["env"].rest(args), false)
			return
		}
	}
	r.run(wrappers["env"].rest(args), false)
}
