package app

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sallyport/internal/fault"
)

func plant(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
}

func TestLocate(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	plant(t, dir, map[string]string{
		"sys/sh": "\x7fELF", "own/tool": "\x7fELF", "own/private/key": "x", "own/rt": "\x7fELF",
		"lib/node_modules/@a/cli/cli.js": "#!/usr/bin/env -S rt --flag\n", "own/script": "#!" + dir + "/sys/sh -e\n", "own/loop": "#!" + dir + "/own/loop\n",
		"own/missing": "#!/usr/bin/env nothere\n", "work/tool": "evil", "own/sh/file": "",
		"work/byline": "#!" + dir + "/own/script\n", "work/byname": "#!/usr/bin/env script\n", "work/byelf": "#!/usr/bin/env rt\n", "work/bysys": "#!/usr/bin/env sh\n",
	})
	for link, target := range map[string]string{
		"work/link": dir + "/own/tool", "work/up": "../own/tool", "work/pack": dir + "/lib/node_modules/@a/cli/cli.js", "work/dir": dir + "/own", "own/back": dir + "/work/link",
	} {
		if err := os.Symlink(target, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "own/plain"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("../lib/node_modules/@a/cli/cli.js", filepath.Join(dir, "own/cli")); err != nil {
		t.Fatal(err)
	}
	path := ".:work:" + dir + "/own:" + dir + "/sys"
	visible := func(p string) bool { return within(p, dir+"/sys") }
	for name, tt := range map[string]struct {
		path string
		show []string
		kind fault.Kind
	}{
		"sh":       {path: "sys/sh"},
		"tool":     {path: "own/tool", show: []string{"own/tool"}}, // the file, not its neighbours; never the working directory's
		"cli":      {path: "lib/node_modules/@a/cli/cli.js", show: []string{"lib/node_modules", "own/rt"}},
		"script":   {path: "own/script", show: []string{"own/script"}},
		"./tool":   {path: "work/tool", show: []string{"work/tool"}},
		"":         {kind: fault.Usage},
		"nothing":  {kind: fault.NotFound},
		"missing":  {kind: fault.NotFound},
		"plain":    {kind: fault.Denied},
		"loop":     {kind: fault.Denied},
		"./absent": {kind: fault.NotFound},
		// What an agent left in the working directory does not choose what is shown.
		"./link":     {kind: fault.Denied},
		"./up":       {kind: fault.Denied},
		"./pack":     {kind: fault.Denied},
		"./dir/tool": {kind: fault.Denied},
		"back":       {kind: fault.Denied},
		"./byline":   {kind: fault.Denied},
		"./byname":   {kind: fault.Denied},
		"./byelf":    {path: "work/byelf", show: []string{"work/byelf", "own/rt"}},
		"./bysys":    {path: "work/bysys", show: []string{"work/bysys"}},
	} {
		got, err := locate(name, path, dir+"/work", visible)
		if tt.path == "" {
			if !fault.Is(err, tt.kind) {
				t.Errorf("%s: %+v, %v", name, got, err)
			}
			continue
		}
		want := program{Path: filepath.Join(dir, tt.path)}
		for _, s := range tt.show {
			want.Show = append(want.Show, filepath.Join(dir, s))
		}
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("%s: %v\n%s", name, err, diff)
		}
	}
}
