package auditor

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
)

// TestPatrolOnThisHost runs the whole first patrol with a real bash on whatever
// machine this is, without collected facts: it must end in a report that says so.
func TestPatrolOnThisHost(t *testing.T) {
	if testing.Short() {
		t.Skip("walks this host's file system")
	}
	d := newDriver(t)
	d.patrol(120)
	txt, js := d.reports("txt"), d.reports("json")
	if len(txt) != 1 || len(js) != 1 {
		t.Fatalf("reports: %v %v; said %q", txt, js, d.said)
	}
	b, _ := os.ReadFile(txt[0])
	t.Logf("%d replies, peak %d tokens, said %q\n%s", len(d.replies), d.peak, d.said, b)
	if !strings.HasPrefix(string(b), "Coverage: ") {
		t.Errorf("the report does not lead with its coverage:\n%.200s", b)
	}
	j, _ := os.ReadFile(js[0])
	var doc map[string]any
	if err := json.Unmarshal(j, &doc); err != nil {
		t.Fatalf("json report: %v\n%s", err, j)
	}
	if d.peak > d.limit {
		t.Errorf("the context grew to %d of %d tokens", d.peak, d.limit)
	}
}
