package changes

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"unicode"

	"github.com/google/go-cmp/cmp"
)

const goodMeta = `{"version":1,"id":"s1","session":"s1","agent":"a","dir":"/p/x","mode":"overlay","device":1,"inode":2,"started":"2026-01-02T03:04:05.000000006Z","state":"open"}`

func TestParseMeta(t *testing.T) {
	if m, err := parseMeta([]byte(goodMeta)); err != nil || m.Started.Nanosecond() != 6 {
		t.Fatalf("%+v, %v", m, err)
	}
	for _, swap := range [][2]string{
		{`"version":1`, `"version":2`},
		{`"version":1`, `"version":1,"more":1`},
		{`"id":"s1"`, `"id":"../x"`},
		{`/p/x`, `/p/../x`},
		{`/p/x`, `x`},
		{`/p/x`, `/`},
		{`overlay`, `magic`},
		{`"inode":2`, `"inode":0`},
		{`"state":"open"}`, `"state":"ajar"}`},
		{`"open"}`, `"open"}{}`},
		{`"2026`, `"x`},
		{`"agent":"a"`, `"agent":"` + strings.Repeat("a", maxMeta) + `"`},
	} {
		if m, err := parseMeta([]byte(strings.Replace(goodMeta, swap[0], swap[1], 1))); err == nil {
			t.Errorf("%s for %s is taken: %+v", swap[1][:min(40, len(swap[1]))], swap[0], m)
		}
	}
}

func FuzzMeta(f *testing.F) {
	f.Add([]byte(goodMeta))
	f.Add([]byte(`{}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := parseMeta(data)
		if err != nil {
			return
		}
		again, err := json.Marshal(m)
		if err != nil {
			t.Skip() // a year that RFC 3339 does not know
		}
		n, err := parseMeta(again)
		if err != nil || !cmp.Equal(n, m) && !n.Started.Equal(m.Started) {
			t.Errorf("%s becomes %s: %v", data, again, err)
		}
	})
}

func TestParseJournal(t *testing.T) {
	const a, b = ".sallyport-0123456789abcdef~", ".sallyport-fedcba9876543210~"
	intent := func(p, t string) string { return `{"op":"intent","path":"` + p + `","temp":"` + t + `"}` + "\n" }
	done := func(p, t string) string { return `{"op":"done","path":"` + p + `","temp":"` + t + `"}` + "\n" }
	for _, tt := range []struct {
		name, in string
		want     []entry
		bad      bool
	}{
		{"empty", "", nil, false},
		{"done", intent("x", a) + done("x", a), nil, false},
		{"open", intent("x/y", a) + intent("z", b) + done("z", b), []entry{{Op: "intent", Path: "x/y", Temp: a}}, false},
		{"torn", intent("x", a) + `{"op":"int`, []entry{{Op: "intent", Path: "x", Temp: a}}, false},
		{"damaged in the middle", "{\n" + intent("x", a), nil, true},
		{"foreign name", intent("x", "passwd"), nil, true},
		{"name with a path", intent("x", "../.sallyport-0123456789abcdef~"), nil, true},
		{"path out", intent("../x", a), nil, true},
		{"absolute path", intent("/x", a), nil, true},
		{"unknown", `{"op":"rm","path":"x","temp":"` + a + "\"}\n", nil, true},
		{"long line", strings.Repeat("x", maxLine+1), nil, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, _, err := parseJournal(strings.NewReader(tt.in))
			if (err != nil) != tt.bad {
				t.Fatalf("error %v", err)
			}
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

func FuzzJournal(f *testing.F) {
	f.Add([]byte(`{"op":"intent","path":"x","temp":".sallyport-0123456789abcdef~"}` + "\n" + `{"op":"linked","ino":7}` + "\n{"))
	f.Fuzz(func(t *testing.T, data []byte) {
		left, _, err := parseJournal(bytes.NewReader(data))
		if err != nil {
			return
		}
		for _, e := range left {
			raw, ok := rawPath(e.Path)
			if !ok || !cleanPath(raw) || strings.ContainsAny(e.Temp, "/\x00") || !strings.HasPrefix(e.Temp, ".sallyport-") {
				t.Errorf("would remove %q beside %q", e.Temp, e.Path)
			}
		}
	})
}

func TestParseBase(t *testing.T) {
	b, err := parseBase(strings.NewReader(`{"path":".","type":"dir","mode":493}
{"path":"a","type":"file","mode":420,"size":3,"mtime":5,"sha256":"x"}
{"path":"d","type":"dir","mode":493}
{"path":"d/l","type":"link","target":"a"}
{"path":"d/s","type":"other"}
{"path":"e/f","type":"file"}
{"path":"a","type":""}
{"path":"e","type":""}
{"path":"d/torn`))
	if err != nil {
		t.Fatal(err)
	}
	if b.at("a") != nil || b.at("e/f") != nil || b.at("e") != nil || b.at("d/l").Target != "a" || b.at("d/l/x") != nil {
		t.Error("the last record does not count")
	}
	if d := cmp.Diff([]string{"l"}, b.at("d").names()); d != "" {
		t.Error(d)
	}
	for _, bad := range []string{`{"path":"../x","type":"file"}`, `{"path":"/x","type":"file"}`, `{"path":"a//b","type":"dir"}`, `{"path":"x","type":"door"}`, `nonsense`} {
		if _, err := parseBase(strings.NewReader(bad + "\n")); err == nil {
			t.Errorf("%s is taken", bad)
		}
	}
}

func FuzzBase(f *testing.F) {
	f.Add([]byte(`{"path":"d/l","type":"link","target":"a"}` + "\n" + `{"path":"d","type":""}` + "\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		b, err := parseBase(bytes.NewReader(data))
		if err != nil {
			return
		}
		var walk func(b *base, at string)
		walk = func(n *base, at string) {
			for _, name := range n.names() {
				raw := join(at, name)
				if !cleanPath(raw) || b.at(raw) == nil {
					t.Fatalf("%q is in the tree", raw)
				}
				walk(n.children[name], raw)
			}
		}
		walk(b, "")
	})
}

// FuzzQuote: every path has one form, and that form is safe to show.
func FuzzQuote(f *testing.F) {
	for _, s := range []string{"a/b", `"a"`, "n\n", "\xff", "\u202ex", "a\x1b[0m", `a\n`, ".."} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		q := quotePath(raw)
		if strings.ContainsFunc(q, func(r rune) bool { return !unicode.IsPrint(r) && r != ' ' }) {
			t.Errorf("%q is shown as %q", raw, q)
		}
		if got, ok := rawPath(q); ok != cleanPath(raw) || ok && got != raw {
			t.Errorf("%q is quoted as %s and read as %q, %v", raw, q, got, ok)
		}
		if v := Visible(raw, false); strings.ContainsFunc(v, func(r rune) bool { return !unicode.IsPrint(r) && r != '\t' }) {
			t.Errorf("%q is shown as %q", raw, v)
		}
	})
}

func TestGuard(t *testing.T) {
	g := newGuard(Shipped())
	for _, tt := range []struct {
		path, typ string
		want      bool
	}{
		{".git/hooks/pre-commit", TypeFile, true},
		{"sub/.git/hooks/a/b", TypeFile, true},
		{".git/hooks", TypeDir, false},
		{".git/hooks", TypeLink, true},
		{".git", TypeLink, true},
		{".git", TypeFile, true},
		{".git", TypeDir, false},
		{".git/config", TypeFile, true},
		{".git/config.worktree", TypeFile, true},
		{".git/modules/x/y/config", TypeFile, true},
		{".git/modules/x/hooks/h", TypeFile, true},
		{".git/modules/x/HEAD", TypeFile, false},
		{".git/objects/ab/cd", TypeFile, false},
		{".git/index", TypeFile, false},
		{".GIT/Config", TypeFile, true},
		{".git./config", TypeFile, true},
		{".git /hooks/x", TypeFile, true},
		{".g\u200bit/config", TypeFile, true},
		{"git~1", TypeDir, false},
		{"git~1", TypeLink, true},
		{".vscode/tasks.json", TypeFile, true},
		{"x/.vscode", TypeLink, true},
		{".github/workflows/ci.yml", TypeFile, true},
		{".github/ISSUE.md", TypeFile, false},
		{".github", TypeLink, true},
		{"Makefile", TypeFile, false},
		{"package.json", TypeFile, false},
		{"docs/agents.md", TypeFile, true},
		{"x.code-workspace", TypeFile, true},
		{".envrc", TypeFile, true},
		{".yarnrc.yml", TypeFile, true},
		{"src/config", TypeFile, false},
		{".git/rebase-merge/git-rebase-todo", TypeFile, true},
		{".git/sequencer/todo", TypeFile, true},
		{".git/refs/replace/0a", TypeFile, true},
		{".git/refs/heads/main", TypeFile, false},
		{"x/.gitea/workflows/a.yml", TypeFile, true},
		{"lefthook.yaml", TypeFile, true},
		{"rust-toolchain.toml", TypeFile, true},
		{".config/fish/config.fish", TypeFile, true},
		{".clinerules", TypeFile, true},
		{"opencode.jsonc", TypeFile, true},
		{"w", TypeLink, false},
	} {
		if got := g.match("", tt.path, tt.typ); (got != "") != tt.want {
			t.Errorf("%s %s: %q", tt.typ, tt.path, got)
		}
	}
}

func TestGroups(t *testing.T) {
	list := []Change{
		{Path: ".git/objects/ab", Type: TypeDir, Kind: KindAdded, Group: GroupGit},
		{Path: ".git/objects/ab/c", Type: TypeFile, Kind: KindAdded, Group: GroupGit},
		{Path: ".git/refs/heads/main", Type: TypeFile, Kind: KindModified, Group: GroupGit},
		{Path: ".git/refs/heads/x", Type: TypeFile, Kind: KindAdded, Group: GroupGit},
		{Path: "a", Type: TypeFile, Kind: KindAdded},
	}
	if d := cmp.Diff([]string{"git: 1 objects, refs/heads/main moved, refs/heads/x new"}, Groups(list)); d != "" {
		t.Error(d)
	}
	for path, want := range map[string]string{".git/objects/a": "git", "x/.git/refs/y": "git", ".git/hooks/x": "", ".git/config": "", "objects/x": "", ".git": ""} {
		if got := groupOf("", path); got != want {
			t.Errorf("%s is in group %q", path, got)
		}
	}
}

// TestUnderOf: a Set of a directory inside .git, or of .github/workflows, is
// judged as the same paths of the whole project are.
func TestUnderOf(t *testing.T) {
	g := newGuard(Shipped())
	for _, tt := range []struct {
		dir       string
		git       bool
		path      string
		protected bool
		group     string
	}{
		{"/src/shop/.git", true, "config", true, ""},
		{"/src/shop/.git", true, "hooks/pre-commit", true, ""},
		{"/src/shop/.git", true, "refs/heads/main", false, GroupGit},
		{"/src/shop/.git/modules/sub", true, "config", true, ""},
		{"/src/shop/.git/worktrees/x", false, "gitdir", true, ""},
		{"/src/shop.git", true, "hooks/post-receive", true, ""},
		{"/src/shop.git", true, "objects/ab/c", false, GroupGit},
		{"/src/shop/.github/workflows", false, "ci.yml", true, ""},
		{"/src/shop/.vscode", false, "tasks.json", true, ""},
		{"/src/.claude/worktrees/shop", false, "main.go", false, ""},
		{"/src/shop", false, "config", false, ""},
		{"/", false, "a", false, ""},
	} {
		under := underOf(tt.dir, tt.git)
		if got := g.match(under, tt.path, TypeFile); (got != "") != tt.protected || groupOf(under, tt.path) != tt.group {
			t.Errorf("%s %s: %q, %q", tt.dir, tt.path, got, groupOf(under, tt.path))
		}
	}
}
