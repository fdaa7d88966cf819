package sandbox

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"sallyport/internal/fault"
)

// TestShellKeepsAndForgets runs scripts one after the other in one shell. What
// one script does to the shell's options, traps, functions and descriptors must
// not reach the next; its variables and directory must.
func TestShellKeepsAndForgets(t *testing.T) {
	x := newTarget(t)
	sh := openShell(t, x.spec(ViewWorkspace), TierFull)
	for _, c := range []struct {
		script, out string
		exit, line  int
		died        bool
	}{
		{script: "echo one; echo two >&2", out: "one\ntwo\n"},
		{script: "a=1; export B='x y'; f() { echo f$1; }; cd /usr"},
		{script: "echo $a \"$B\"; f 2; pwd", out: "1 x y\nf2\n/usr\n"},
		{script: "cat; echo $?", out: "0\n"},
		{script: "read v; echo \"[$v]\"", out: "[]\n"},
		{script: "echo \"unbalanced", out: "bash: /dev/fd/9: line 1: unexpected EOF while looking for matching `\"'\n", exit: 2},
		{script: "echo ok", out: "ok\n"},
		{script: "echo a\necho )\n", out: "bash: /dev/fd/9: line 2: syntax error near unexpected token `)'\nbash: /dev/fd/9: line 2: `echo )'\n", exit: 2},
		{script: "cat <<E\n'\"$a\nE", out: "'\"1\n"},
		{script: "cat <<'E'\nunfinished", out: "bash: warning: here-document at line 1 delimited by end-of-file (wanted `E')\nbash: /dev/fd/9: line 5: syntax error: unexpected end of file\n", exit: 2},
		{script: "echo 1\n\nfalse\ntrue", out: "1\n", line: 3},
		{script: "echo 1\n(exit 7)", out: "1\n", exit: 7, line: 2},
		{script: "return 5; echo no", exit: 5},
		{script: "exec >/dev/null; echo lost"},
		{script: "exec 2>&1 >&-; echo lost 2>/dev/null", exit: 1, line: 1},
		{script: "echo back", out: "back\n"},
		{script: "set -uxf -o pipefail; shopt -s nullglob extglob; POSIXLY_CORRECT=1; trap 'echo T' DEBUG; IFS=x; echo"},
		{script: "IFS=$' \\t\\n'; echo /usr/no*such $undefined; set -o | grep -E '(errexit|nounset|xtrace|noglob|posix|pipefail).*on'; shopt nullglob; trap -p DEBUG", out: "/usr/no*such\nnullglob       \toff\n"},
		{script: "printf() { :; }; set() { :; }; builtin() { :; }; unset() { :; }; eval() { :; }; alias declare=false; shopt -s expand_aliases; pwd() { echo /fake; }"},
		{script: "command printf '%s\\n' again; pwd", out: "again\n/usr\n"},
		{script: "echo 'N 0123 0 0'; printf 'N x 0 0\\0/etc\\0\\0'; printf 'N x 0 0\\0/etc\\0\\0' >&201", out: "N 0123 0 0\nN x 0 0\x00/etc\x00\x00bash: 201: Bad file descriptor\n", exit: 1, line: 1},
		{script: "PWD=/fake; false || true"},
		{script: "pwd", out: "/usr\n"},
		{script: "echo '!x' !!; echo \"a!b\"", out: "!x !!\na!b\n"},
		{script: "export C=3; d=4; set -e\nfalse\necho no", exit: 1, line: 2, died: true},
		{script: "echo $a $C $d; f 9; set +e; false; echo still", out: "1 3 4\nf9\nstill\n", line: 1},
		{script: "cd /etc; exit 42", exit: 42, died: true},
		{script: "pwd; echo $a", out: "/etc\n1\n"},
		{script: "exec /bin/sh -c 'echo other; exit 6'", out: "other\n", exit: 6, died: true},
		{script: "pwd; echo \"$B\"", out: "/etc\nx y\n"},
		{script: "kill -9 $$", exit: 137, died: true},
		{script: "pwd; echo \"$B\"", out: "/etc\nx y\n"},
		{script: "ulimit -c; echo $((16#ff))", out: "0\n255\n"},
		{script: "", out: ""},
		{script: "echo trailing \\", out: "trailing\n"},
		{script: "printf 'é\\xff\\x00\\x01'", out: "é\xff\x00\x01"},
		{script: "mkdir -p \"/tmp/a b\n'c\"; cd \"/tmp/a b\n'c\""},
		{script: "pwd", out: "/tmp/a b\n'c\n"},
		{script: "rmdir \"$PWD\""},
		{script: "cd / 2>/dev/null; echo out", out: "out\n"},
		{script: "echo x > /dev/stdout; echo y > /dev/stderr", out: "x\ny\n"},
	} {
		r := runOK(t, sh, c.script)
		if got := string(r.Head) + string(r.Tail); got != c.out && c.script[:min(5, len(c.script))] != "set -" {
			t.Errorf("%q printed %q, want %q", c.script, got, c.out)
		}
		if r.Exit != c.exit || r.ShellDied != c.died || c.line != 0 && r.FailedLine != c.line {
			t.Errorf("%q: exit %d line %d died %v, want %d %d %v", c.script, r.Exit, r.FailedLine, r.ShellDied, c.exit, c.line, c.died)
		}
	}
}

func TestTimeoutKeepsTheShell(t *testing.T) {
	x := newTarget(t)
	for _, tier := range []Tier{TierFull, TierLandlock} {
		sh, err := open(t, x.spec(ViewAuditor), tier).Shell(t.Context(), ShellOptions{Grace: 50 * time.Millisecond})
		must(t, err)
		runOK(t, sh, "a=kept; cd /usr")
		for _, c := range []struct {
			name, script string
			dies         bool
		}{
			{name: "before the next line", script: "echo partial; sleep 100\necho no"},
			{name: "a child", script: "echo partial; sleep 100; echo no"},
			{name: "the shell itself", script: "echo partial; while :; do :; done"},
			{name: "ignores interrupt", script: "echo partial; (trap '' INT; sleep 100); echo no", dies: true},
			{name: "ignores both", script: "echo partial; bash -c 'trap \"\" INT TERM; while :; do sleep 1; done'; echo no", dies: true},
			{name: "own session", script: "echo partial; setsid -w sleep 100; echo no", dies: true},
			{name: "background", script: "echo partial; sleep 98765 & setsid sleep 98765 & sleep 100"},
			{name: "the shell ignores it", script: "echo partial; trap '' INT; while :; do :; done", dies: true},
		} {
			if tier == TierLandlock && (c.name == "a child" || c.name == "ignores interrupt") {
				continue // nothing in them depends on the tier
			}
			r, err := sh.Run(t.Context(), c.script, 100*time.Millisecond)
			must(t, err)
			if !r.TimedOut || r.ShellDied != c.dies || !bytes.HasPrefix(r.Head, []byte("partial\n")) || bytes.Contains(r.Head, []byte("no\n")) || r.Exit == 0 {
				t.Errorf("%s: %s: %+v %s", tier, c.name, r, r.Head)
			}
			if r.Elapsed > 3*time.Second {
				t.Errorf("%s: %s took %s", tier, c.name, r.Elapsed)
			}
			want := "kept /usr\n"
			if r := runOK(t, sh, "echo $a $PWD; a=kept; cd /usr"); string(r.Head) != want {
				t.Errorf("%s: after %s: %q, want %q", tier, c.name, r.Head, want)
			}
		}
		if r := runOK(t, sh, "ps -e -o args= | grep -c '[s]leep 98765'"); strings.TrimSpace(string(r.Head)) != "0" {
			t.Errorf("%s: background processes outlived the timeout: %s", tier, r.Head)
		}
	}
}

func TestInterruptAndCancel(t *testing.T) {
	x := newTarget(t)
	sh := openShell(t, x.spec(ViewAuditor), TierFull)
	runOK(t, sh, "a=1")
	started := x.home + "/started"
	go func() {
		for {
			if _, err := os.Stat(started); err == nil {
				sh.Interrupt()
				return
			}
			time.Sleep(time.Millisecond)
		}
	}()
	r := runOK(t, sh, "touch "+started+"; sleep 100; echo no")
	if r.Exit != 130 || r.Signal != "SIGINT" || bytes.Contains(r.Head, []byte("no")) {
		t.Errorf("interrupt: %+v %s", r, r.Head)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if r, err := sh.Run(ctx, "echo p; sleep 100", time.Minute); !fault.Is(err, fault.Canceled) || string(r.Head[:2]) != "p\n" {
		t.Errorf("cancel: %v %+v", err, r)
	}
	if r := runOK(t, sh, "echo $a"); string(r.Head) != "1\n" {
		t.Errorf("after cancel: %q", r.Head)
	}
	if _, err := sh.Run(t.Context(), "a\x00b", 0); !fault.Is(err, fault.Usage) {
		t.Errorf("NUL: %v", err)
	}
	if _, err := sh.Run(t.Context(), strings.Repeat("x", MaxScript+1), 0); !fault.Is(err, fault.Usage) {
		t.Errorf("large: %v", err)
	}
	must(t, sh.Close())
	if _, err := sh.Run(t.Context(), "true", 0); !fault.Is(err, fault.Unavailable) {
		t.Errorf("closed: %v", err)
	}
}

func TestOutputIsBounded(t *testing.T) {
	x := newTarget(t)
	sb := open(t, x.spec(ViewAuditor), TierFull)
	sh, err := sb.Shell(t.Context(), ShellOptions{OutputBytes: 2048})
	must(t, err)
	const size = 100 << 20
	r := runOK(t, sh, fmt.Sprintf("echo first; head -c %d /dev/zero; echo; echo last", size))
	if r.TotalBytes != size+12 || r.TotalLines != 3 || len(r.Head)+len(r.Tail) != 2048 || r.DroppedBytes != size+12-2048 {
		t.Errorf("total %d lines %d kept %d+%d dropped %d", r.TotalBytes, r.TotalLines, len(r.Head), len(r.Tail), r.DroppedBytes)
	}
	if !bytes.HasPrefix(r.Head, []byte("first\n")) || !bytes.HasSuffix(r.Tail, []byte("\nlast\n")) {
		t.Errorf("head %q tail %q", r.Head[:10], r.Tail[len(r.Tail)-10:])
	}
	// a long script, and one command's rest is not another's beginning
	r = runOK(t, sh, strings.Repeat("# "+strings.Repeat("x", 98)+"\n", 2000)+"echo end")
	if string(r.Head) != "end\n" {
		t.Errorf("long script: %q", r.Head)
	}
	for i := range 50 {
		if r := runOK(t, sh, fmt.Sprintf("seq 1 20 | tail -1; echo %d", i)); string(r.Head) != fmt.Sprintf("20\n%d\n", i) {
			t.Fatalf("run %d: %q", i, r.Head)
		}
	}
}

func TestTwoShells(t *testing.T) {
	x := newTarget(t)
	sb := open(t, x.spec(ViewAuditor), TierFull)
	a, err := sb.Shell(t.Context(), ShellOptions{})
	must(t, err)
	b, err := sb.Shell(t.Context(), ShellOptions{})
	must(t, err)
	runOK(t, a, "v=a; sleep 98764 & echo")
	runOK(t, b, "v=b")
	r, err := b.Run(t.Context(), "sleep 100", 100*time.Millisecond)
	must(t, err)
	if !r.TimedOut {
		t.Errorf("%+v", r)
	}
	if r := runOK(t, a, "echo $v; kill -0 $! && echo alive"); string(r.Head) != "a\nalive\n" {
		t.Errorf("one shell's timeout reached the other: %q", r.Head)
	}
	must(t, a.Close())
	if r := runOK(t, b, "echo $v; ps -e -o args= | grep -c '[s]leep 98764'"); string(r.Head) != "b\n0\n" {
		t.Errorf("after closing the other: %q", r.Head)
	}
}
