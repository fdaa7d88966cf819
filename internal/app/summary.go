package app

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"time"
)

// reported is what the summary takes from a report's JSON form. It is the
// agent's word: it is shown, never acted upon.
type reported struct {
	Summary  string `json:"summary"`
	Findings []struct {
		Severity any `json:"severity"`
	} `json:"findings"`
}

// severities names the numbers reports use.
var severities = map[float64]string{1: "info", 2: "low", 3: "medium", 4: "high", 5: "critical"}

// addReport finds the report that the run left and what it says of itself.
func (e *engine) addReport(sum *RunSummary, since time.Time) {
	all, err := e.app.Reports()
	if err != nil || len(all) == 0 || all[0].Written.Before(since.Truncate(time.Second)) {
		return
	}
	sum.Report = &all[0]
	if all[0].Data == "" {
		return
	}
	data, err := readBounded(all[0].Data)
	if err != nil {
		return
	}
	var r reported
	if json.Unmarshal(data, &r) != nil {
		return
	}
	sum.Coverage = r.Summary
	sum.Findings = map[string]int{}
	for _, f := range r.Findings {
		switch s := f.Severity.(type) {
		case string:
			sum.Findings[s]++
		case float64:
			sum.Findings[severities[s]]++
		}
	}
}

// addCheckpoint names the log's head at the end of a run.
func (e *engine) addCheckpoint(ctx context.Context, sum *RunSummary) {
	// Without it the summary is shorter, not wrong.
	sum.LogSize, sum.LogRoot, _ = e.checkpoint(ctx)
}

// checkpoint gives size and root of the log, as its newest checkpoint signs them.
func (e *engine) checkpoint(ctx context.Context) (size int64, root string, err error) {
	_, note, err := e.store.Latest(ctx)
	if err != nil {
		return 0, "", err
	}
	n, hash, err := e.app.Signer().Check(note)
	if err != nil {
		return 0, "", err
	}
	return n, base64.StdEncoding.EncodeToString(hash[:]), nil
}
