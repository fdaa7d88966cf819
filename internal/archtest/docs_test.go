package archtest

import (
	"os"
	"regexp"
	"testing"
)

// TestThreatModelNamesRealTests: a control without its test is a claim.
func TestThreatModelNamesRealTests(t *testing.T) {
	doc, err := os.ReadFile(root + "/docs/threat-model.md")
	if err != nil {
		t.Fatal(err)
	}
	have := map[string]bool{}
	decl := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)
	eachFile(t, "_test.go", func(_ string, data []byte) {
		for _, m := range decl.FindAllSubmatch(data, -1) {
			have[string(m[1])] = true
		}
	})
	named := regexp.MustCompile(`\b(?:Test|Fuzz)[A-Z]\w+`).FindAllString(string(doc), -1)
	if len(named) < 40 {
		t.Errorf("the threat model names %d tests only", len(named))
	}
	for _, name := range named {
		if !have[name] {
			t.Errorf("docs/threat-model.md names %s, which does not exist", name)
		}
	}
}
