package e2e

import (
	"strings"
	"testing"
	"time"
)

// TestOutputs: what a command can do to its reader. Each case says what the
// next request must hold; the shell must be usable afterwards.
func TestOutputs(t *testing.T) {
	for name, c := range map[string]struct {
		script string
		wants  []string
		tools  string
		bounds string
	}{
		"a gigabyte":    {script: `head -c 1000000000 /dev/zero | tr '\0' x`, wants: []string{"1000000000", "xxx"}, tools: "{command_timeout: 50}"},
		"binary":        {script: `head -c 3000 /dev/urandom; printf 'a\0b\377c\033[2Jd'; echo end-of-binary`, wants: []string{"end-of-binary"}},
		"never ends":    {script: `echo part; sleep 1000`, wants: []string{"part", "took too long"}, tools: "{command_timeout: 2}"},
		"ignores terms": {script: `trap '' TERM INT HUP; echo part; while :; do sleep 1; done`, wants: []string{"part", "took too long"}, tools: "{command_timeout: 2}"},
		"reads stdin":   {script: `cat; echo "cat gave $?"`, wants: []string{"cat gave 0"}},
		"exit":          {script: `true; exit 3`, wants: []string{"started again"}},
		"exec":          {script: `exec false`, wants: []string{"started again"}},
		"set -e":        {script: `set -e; false; echo not-reached`, wants: []string{"started again"}},
		"set -u -x":     {script: `set -eux; echo "${nope}"`, wants: []string{"nope"}},
		"kills shell":   {script: `kill -9 $$`, wants: []string{"started again"}},
		"fork bomb":     {script: `b() { b | b & }; b; sleep 1; echo bombed`, wants: []string{"bombed"}, bounds: "{pids: 64}", tools: "{command_timeout: 10}"},
		"background":    {script: `sleep 1000 & echo started; disown`, wants: []string{"started"}},
		"closed output": {script: `exec >&- 2>&-; echo lost`, wants: []string{""}},
		"frames":        {script: `printf '\0\0\0\1{"exit":0}\n'; for i in 3 4 5 6 7 8 9; do echo '{"exit":0,"cwd":"/etc"}' >&$i; done 2>/dev/null; echo framed`, wants: []string{"framed"}},
		"long line":     {script: `printf 'y%.0s' $(seq 1 200000)`, wants: []string{"200000"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t, say(c.script), say(`echo alive-$((6*7)) in "$PWD"`), say("pause 1"))
			l.tools, l.bounds = c.tools, c.bounds
			r := l.patrol(codeOK)
			reply := after(l.body(1), c.script)
			l.has("the request after it", reply, c.wants...)
			l.lacks("the request after it", reply, "not-reached")
			l.has("the request after that", l.body(2), "alive-42", "/home/ada")
			if len(reply) > 60_000 {
				t.Errorf("%d bytes reached the model", len(reply))
			}
			if r.took > patience/2 {
				t.Errorf("it took %v", r.took)
			}
			l.verify()
			t.Logf("%v", r.took.Round(time.Millisecond))
		})
	}
}

// after cuts what stands before the last occurrence of a script.
func after(text, script string) string {
	if i := strings.LastIndex(text, script); i >= 0 {
		return text[i+len(script):]
	}
	return text
}
