package archtest

import (
	"regexp"
	"testing"
)

// TestTreeSpeaksOfItself: no path of anybody's machine and no package
// registry's host belongs into the tree.
func TestTreeSpeaksOfItself(t *testing.T) {
	foreign := regexp.MustCompile(`/(work|root)/(main|go)\b|/home/[a-z]+/go\b|proxy\.golang\.org|registry\.npmjs\.org|deb\.debian\.org`)
	for _, suffix := range []string{".go", ".md", ".yaml", ".yml", ".txtar", ".sh", "Makefile"} {
		eachFile(t, suffix, func(path string, data []byte) {
			if path == "../../internal/archtest/text_test.go" {
				return
			}
			if m := foreign.Find(data); m != nil {
				t.Errorf("%s mentions %s", path, m)
			}
		})
	}
}
