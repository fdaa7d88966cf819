package scan

import (
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// ordinary collects every so many-th file of source code below a folder.
func ordinary(t *testing.T, dir string, every int, suffixes ...string) map[string][]byte {
	t.Helper()
	out, n := map[string][]byte{}, 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !slices.Contains(suffixes, filepath.Ext(path)) {
			return err
		}
		if n++; n%every != 0 {
			return nil
		}
		data, err := os.ReadFile(path)
		if err == nil && len(data) < 1<<20 {
			out[path] = data
		}
		return nil
	})
	if err != nil {
		t.Skip(err)
	}
	return out
}

// TestEvalCode measures how often ordinary code has a finding. The tree is
// that of the Go release, or the one that SALLYPORT_EVAL_CODE names.
func TestEvalCode(t *testing.T) {
	dataDir(t)
	dir := os.Getenv("SALLYPORT_EVAL_CODE")
	if dir == "" {
		dir = filepath.Join(runtime.GOROOT(), "src") //nolint:staticcheck // the tree that built this test
	}
	e := compile(t, Options{})
	s := e.NewScanner()
	rules, blocking, size := map[string]int{}, map[string]int{}, 0
	files := ordinary(t, dir, 4, ".go", ".js", ".ts", ".mjs", ".cjs", ".json", ".py", ".md", ".txt", ".s", ".c", ".h")
	for _, path := range slices.Sorted(maps.Keys(files)) {
		text := files[path]
		size += len(text)
		for _, f := range s.Scan(text).Findings {
			rules[f.Rule]++
			if f.Block {
				blocking[f.Rule]++
				if classOf(f.Rule) == "secret" && !strings.Contains(path, "test") {
					t.Errorf("%s: %s may block %.60q", path, f.Rule, text[f.Start:f.End])
				}
			}
			if show := os.Getenv("SALLYPORT_EVAL_SHOW"); show != "" && strings.HasPrefix(f.Rule, show) {
				t.Logf("%s: %s %.100q", strings.TrimPrefix(path, dir), f.Rule, text[max(0, f.Start-30):f.End])
			}
		}
	}
	total := 0
	for _, id := range slices.Sorted(maps.Keys(rules)) {
		total += rules[id]
		t.Logf("%6d %s, %d may block", rules[id], id, blocking[id])
	}
	t.Logf("%d files, %.1f MB, %d findings", len(files), float64(size)/1e6, total)
}
