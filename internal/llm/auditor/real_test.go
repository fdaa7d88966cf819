package auditor

import (
	"os"
	"strings"
	"testing"
)

// TestTopicOnThisHost asks for one topic on whatever machine this is, with a real
// bash and without collected facts: a report comes, and it says what is missing.
func TestTopicOnThisHost(t *testing.T) {
	d := newDriver(t)
	d.inject = map[int]string{0: "check kernel"}
	d.patrol(30)
	if len(d.reports("txt")) != 1 {
		t.Fatalf("reports: %v; said %q", d.reports("txt"), d.said)
	}
	b, err := os.ReadFile(d.reports("txt")[0])
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(factsDir); err != nil && !strings.HasPrefix(string(b), "Coverage: 0 of 8 checks; 8 need facts the collector could not read") {
		t.Errorf("the report does not lead with what it could not see:\n%.300s", b)
	}
	if st, _ := os.Stat(d.home + "/auditor"); st.Mode().Perm() != 0o700 {
		t.Errorf("the tracker's folder has mode %v", st.Mode())
	}
}
