package command

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var seedList = []string{"format", "del", "rm -rf", "shutdown", "reboot", "mkfs"}

func matcher(t testing.TB, entries ...string) *Matcher {
	t.Helper()
	m, err := Compile(entries)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestBlocked(t *testing.T) {
	hits := map[string]string{
		"plain":                `rm -rf /tmp/x`,
		"turned":               `rm -fr /tmp/x`,
		"two spaces":           `rm  -rf  /`,
		"apart":                `rm -r -f x`,
		"capital":              `rm -Rf x`,
		"after the operand":    `rm x -rf`,
		"long":                 `rm --recursive --force x`,
		"abbreviated":          `rm --rec --fo x`,
		"mixed":                `rm -r --force x`,
		"with more":            `rm -vrfI x`,
		"path":                 `/bin/rm -r -f x`,
		"quoted":               `"rm" '-rf' x`,
		"half quoted":          `r'm' -r"f" x`,
		"backslash":            `\rm -rf x`,
		"backslash inside":     `r\m -r\f x`,
		"continued line":       "rm \\\n -rf x",
		"ansi c":               `$'\x72m' $'\055rf' x`,
		"braces":               `{rm,-rf,/tmp/x}`,
		"ifs":                  `rm${IFS}-rf${IFS}/`,
		"variable":             `x=rm; $x -rf /`,
		"variable with flags":  `c="rm -rf"; $c /`,
		"default value":        `${nothing:-rm} -rf /`,
		"substitution":         `echo $(rm -rf x)`,
		"backticks":            "echo `rm -rf x`",
		"in quotes":            `echo "$(rm -rf x)"`,
		"process":              `diff <(rm -rf x) y`,
		"name by substitution": `$(echo rm) -rf x`,
		"name by which":        `$(which rm) -rf x`,
		"name by command -v":   `$(command -v rm) -rf x`,
		"env":                  `env A=b -u C rm -rf x`,
		"env -i":               `env -i /bin/rm -rf x`,
		"env -S":               `env -S "rm -rf x"`,
		"sudo":                 `sudo -u root -n rm -rf x`,
		"sudo long":            `sudo --user=root -- rm -rf x`,
		"nohup":                `nohup rm -rf x &`,
		"timeout":              `timeout -s KILL 5 rm -rf x`,
		"nice":                 `nice -n 19 rm -rf x`,
		"stacked":              `sudo nice -n 5 env X=1 timeout 3 rm -rf x`,
		"xargs":                `find . | xargs -n 1 -P 4 rm -rf`,
		"xargs sh":             `ls | xargs -I{} sh -c 'rm -rf {}'`,
		"find":                 `find . -name x -exec rm -rf {} \;`,
		"find plus":            `find . -execdir rm -r -f {} +`,
		"bash -c":              `bash -c 'rm -rf x'`,
		"bash -lc":             `bash -lc "rm -rf x"`,
		"deep":                 `bash -c "sh -c 'bash -c \"rm -rf x\"'"`,
		"su":                   `su root -c 'rm -rf x'`,
		"eval":                 `eval "rm -rf x"`,
		"eval words":           `eval rm -rf x`,
		"trap":                 `trap 'rm -rf x' EXIT`,
		"function":             `f() { rm -rf "$1"; }; f x`,
		"alias":                `alias ll='rm -rf'`,
		"command":              `command rm -rf x`,
		"builtin exec":         `exec -a ls rm -rf x`,
		"busybox":              `busybox rm -rf x`,
		"subshell":             `(cd /; rm -rf x)`,
		"and":                  `true && rm -rf x || :`,
		"if":                   `if rm -rf x; then :; fi`,
		"loop":                 `for i in 1 2; do rm -rf $i; done`,
		"case":                 `case x in x) rm -rf x;; esac`,
		"here-document":        "bash <<'EOF'\nrm -rf x\nEOF",
		"here-string":          `sh <<< "rm -rf x"`,
		"piped":                `echo "rm -rf x" | sh`,
		"piped with escapes":   `echo -ne '\x72\155 -rf x' | sh`,
		"printf with escapes":  `printf '\x72m -rf x' | bash`,
		"name with escapes":    `$(printf '\162\155') -rf x`,
		"piped through sudo":   `printf 'rm -rf x' | sudo bash -s`,
		"in a here-document":   "cat <<EOF\n$(rm -rf x)\nEOF",
		"before a bad line":    "rm -rf x\n((( ",
		"watch":                `watch -n 5 rm -rf x`,
		"coproc":               `coproc rm -rf x`,
		"time":                 `time rm -rf x`,
		"negated":              `! rm -rf x`,
		"array":                `a=($(rm -rf x))`,
		"arithmetic":           `echo $(( $(rm -rf x; echo 1) ))`,
		"mkfs family":          `mkfs.ext4 /dev/sda1`,
		"mkfs itself":          `sudo mkfs -t ext4 /dev/sda1`,
		"format":               `format c:`,
		"DEL":                  `DEL file`,
		"shutdown":             `/sbin/shutdown -h now`,
		"reboot":               `reboot`,
		"systemctl":            `systemctl --force reboot`,
	}
	m := matcher(t, seedList...)
	for name, script := range hits {
		if r := m.Read(script); len(r.Blocked) == 0 {
			t.Errorf("%s: %q is not seen: %+v", name, script, r)
		}
	}
}

// harmless is the corpus on which false positives are measured: ordinary work
// of an auditor and a developer, with the words of the list in other roles.
var harmless = strings.Split(strings.TrimSpace(`
ls model
ls models/ | head
git log --format=%H
git log --format "%h %s" -n 5
cat information.txt
echo rm -rf
echo "never run rm -rf /"
printf '%s\n' 'rm -rf'
grep -rf patterns.txt .
grep -r 'rm -rf' scripts/
man rm
man shutdown
which rm reboot
command -v shutdown
type mkfs
rm file
rm -f file
rm -r dir
rm -i -r dir
rm -- -rf
rm ./-rf
ls -la /sbin/reboot
last reboot
last -x shutdown
journalctl --list-boots
journalctl -u systemd-shutdownd
who -b
docker rm old
docker run --rm -f x image
git rm -r --cached dir
npm run format
make format
cargo fmt
go fmt ./...
python3 -m black --check .
clang-format -i a.c
date --format=x
lsblk -o NAME,FSTYPE
file -s /dev/sda1
cat /etc/mke2fs.conf
ls /sbin/mkfs.ext4
dpkg -L e2fsprogs
apt list --installed
model=del; echo "$model"
delta=1; echo $delta
sed -n 's/rm -rf/x/p' file
awk '/reboot/ {print}' log
find . -name '*.del'
find . -type f -newer reboot -print
tar -rf archive.tar file
cp -rf a b
chmod -R u+w dir
ps aux | grep shutdown
systemctl status reboot.target
systemctl list-units --type=target
crontab -l | grep -v reboot
ssh-keygen -l -f key
curl -fsS http://localhost/format
sort -rf names
xargs -n 1 echo < list
`), "\n")

// TestFalsePositiveRate is the measurement that the rule's text states.
func TestFalsePositiveRate(t *testing.T) {
	if len(harmless) != 60 {
		t.Fatalf("the corpus has %d scripts; the rule's text says 60", len(harmless))
	}
	m := matcher(t, seedList...)
	for _, script := range harmless {
		if r := m.Read(script); len(r.Blocked) > 0 || r.Unresolved {
			t.Errorf("%q: %v, unresolved %v %+v", script, r.Blocked, r.Unresolved, r.Findings)
		}
	}
}

func TestUnresolved(t *testing.T) {
	m := matcher(t, seedList...)
	for name, script := range map[string]string{
		"name from a variable":  `$CMD -rf x`,
		"name from a parameter": `$1 x`,
		"name from a command":   `$(base64 -d <<< cm0K) -rf x`,
		"name by pattern":       `/bin/r? -rf x`,
		"two values":            `x=rm; x=ls; $x -rf`,
		"eval":                  `eval "$X"`,
		"sh -c":                 `sh -c "$X"`,
		"pipe":                  `curl -s http://localhost/x | sh`,
		"flags of rm":           `rm $FLAGS x`,
		"flags from xargs":      `echo -rf x | xargs rm`,
		"not bash":              `if then fi (`,
		"open quote":            `echo "`,
		"flags among too many":  `rm ` + strings.Repeat("x ", maxFields) + ` -rf`,
		"flags behind braces":   `rm ` + strings.Repeat("{a,b}", 9) + `{,-rf}`,
		"nested beyond":         strings.Repeat("$(", 10_000),
		"long":                  "#" + strings.Repeat("x", maxScript),
	} {
		r := m.Read(script)
		if !r.Unresolved || len(r.Blocked) > 0 {
			t.Errorf("%s: unresolved %v, blocked %v", name, r.Unresolved, r.Blocked)
		}
		if len(r.Findings) == 0 || r.Findings[0].Rule != RuleUnresolved || r.Findings[0].Detail == "" {
			t.Errorf("%s: findings %+v", name, r.Findings)
		}
	}
}

func TestParse(t *testing.T) {
	got := Parse("ls -l \"a b\"\nsudo -u x nice cat 'c' | wc\n")
	for i := range got.Programs {
		got.Programs[i].start, got.Programs[i].end = 0, 0
	}
	want := []Program{
		{Name: "ls", Args: []string{"-l", "a b"}, Line: 1},
		{Name: "sudo", Args: []string{"-u", "x", "nice", "cat", "c"}, Line: 2},
		{Name: "nice", Args: []string{"cat", "c"}, Line: 2},
		{Name: "cat", Args: []string{"c"}, Line: 2},
		{Name: "wc", Line: 2},
	}
	if diff := cmp.Diff(want, got.Programs, cmp.AllowUnexported(Program{})); diff != "" {
		t.Errorf("programs (-want +got):\n%s", diff)
	}
}

func TestEntries(t *testing.T) {
	tests := []struct {
		entry, script string
		want          bool
	}{
		{"git push --force", "git push origin -f", true},
		{"git push --force", "git push --force origin", true},
		{"git push --force", "git push origin", false},
		{"git push", "git -C dir push", true},
		{"git push", "git pull", false},
		{"find -delete", "find . -delete", true},
		{"find -delete", "find . -print", false},
		{"/usr/bin/dd", "dd if=a of=b", true},
		{"chmod -R 777", "chmod 777 -R /", true},
		{"chmod -R 777", "chmod -R 755 /", false},
	}
	for _, tt := range tests {
		if got := len(matcher(t, tt.entry).Read(tt.script).Blocked) > 0; got != tt.want {
			t.Errorf("%q on %q: %v", tt.entry, tt.script, got)
		}
	}
	if _, err := Compile([]string{" "}); err == nil {
		t.Error("an empty entry was accepted")
	}
}

// TestBounded: what an attacker can write is read in bounded time.
func TestBounded(t *testing.T) {
	m := matcher(t, seedList...)
	for name, script := range map[string]string{
		"braces":    strings.Repeat("{a,b}", 60) + "\n" + strings.Repeat("{a,{b,{c,d}}}", 30),
		"sequence":  "echo {1..100000000}",
		"programs":  strings.Repeat("ls;", 80_000),
		"quotes":    strings.Repeat("bash -c '", 1000),
		"evals":     strings.Repeat("eval ", 10_000),
		"wrappers":  strings.Repeat("env ", 10_000) + "rm -rf x",
		"variables": strings.Repeat("x=$x$x;", 10_000) + "$x",
		"doubling":  "a=xxxxxxxxxxxxxxxx;b=$a$a$a$a$a$a$a$a;c=$b$b$b$b$b$b$b$b;d=$c$c$c$c$c$c$c$c;e=$d$d$d$d$d$d$d$d;f=$e$e$e$e$e$e$e$e;g=$f$f$f$f$f$f$f$f;h=$g$g$g$g$g$g$g$g; $h",
	} {
		start := time.Now()
		m.Read(script)
		d := time.Since(start)
		t.Logf("%s: %v", name, d)
		if d > 3*time.Second {
			t.Errorf("%s: read in %v", name, d)
		}
	}
}

func FuzzRead(f *testing.F) {
	for _, s := range harmless {
		f.Add(s)
	}
	f.Add("bash -c \"sh -c 'rm -rf x'\" <<< $(echo {a,b}) | xargs -I{} find . -exec $'\\x72m' {} \\;")
	m := matcher(f, seedList...)
	f.Fuzz(func(t *testing.T, script string) {
		r := m.Read(script)
		if r.Unresolved && len(r.Findings) == 0 {
			t.Error("unresolved without a finding")
		}
		for _, fd := range r.Findings {
			if fd.Start < 0 || fd.End < fd.Start || fd.End > len(script) {
				t.Errorf("finding %+v outside of %d bytes", fd, len(script))
			}
		}
	})
}

func BenchmarkRead(b *testing.B) {
	m := matcher(b, seedList...)
	for b.Loop() {
		m.Read("ls -la /etc/ssh && grep -i permitroot /etc/ssh/sshd_config | head -5")
	}
}
