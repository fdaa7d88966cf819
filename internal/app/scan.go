package app

import (
	"errors"
	"io"
	"sort"

	"sallyport/internal/fault"
	"sallyport/internal/scan"
)

// ScanRequest says what a text is read for besides the built-in rules.
type ScanRequest struct {
	Classes  []string          // built-in detectors; nil means all
	Keywords []string          // the operator's words
	Secrets  map[string]string // known secrets by name
}

// ScanFinding is what a rule saw in a text.
type ScanFinding struct {
	Rule       string  `json:"rule"`
	Title      string  `json:"title"`
	Severity   string  `json:"severity"`
	Level      int     `json:"level"` // 1 note to 5 critical
	Confidence float64 `json:"confidence"`
	MayBlock   bool    `json:"may_block"`
	Start      int     `json:"start"` // byte offsets in the text
	End        int     `json:"end"`
	Line       int     `json:"line"` // from 1
	Column     int     `json:"column"`
	Detail     string  `json:"detail,omitempty"`
}

// ScanGap is a part of a text that was not read wholly.
type ScanGap struct {
	Start   int    `json:"start"`
	End     int    `json:"end"`
	Because string `json:"because"`
}

// ScanRule describes a rule that fired.
type ScanRule struct {
	ID     string `json:"id"`
	Title  string `json:"title"`
	Source string `json:"source"`
}

// ScanResult is what a text shows.
type ScanResult struct {
	Bytes     int           `json:"bytes"`
	Rules     int           `json:"rules"` // that were asked
	Findings  []ScanFinding `json:"findings"`
	Unscanned []ScanGap     `json:"unscanned"`
	Fired     []ScanRule    `json:"-"`
	Worst     int           `json:"worst"` // level of the worst finding, 0 for none
}

// scanSeverities name the levels of findings.
var scanSeverities = []string{"none", "note", "low", "medium", "high", "critical"}

// ScanLevel gives the number of a severity, and whether there is such a one.
func ScanLevel(name string) (int, bool) {
	for i, s := range scanSeverities {
		if s == name && i > 0 {
			return i, true
		}
	}
	return 0, false
}

// Scan reads a text to its end and tells what it shows.
func Scan(text io.Reader, req ScanRequest) (ScanResult, error) {
	o := scan.Options{Classes: req.Classes}
	for _, k := range req.Keywords {
		o.Keywords = append(o.Keywords, scan.Keyword{Text: k, Severity: scan.High})
	}
	for name, value := range req.Secrets {
		o.Secrets = append(o.Secrets, scan.Secret{Name: name, Value: value})
	}
	engine, err := scan.Compile(o)
	if err != nil {
		return ScanResult{}, err
	}
	s := engine.NewScanner()
	lines, at := []int{0}, 0
	for buf := make([]byte, 64<<10); ; {
		n, err := text.Read(buf)
		for i, c := range buf[:n] {
			if c == '\n' {
				lines = append(lines, at+i+1)
			}
		}
		at += n
		_, _ = s.Write(buf[:n]) // never fails
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return ScanResult{}, fault.Wrap("scan.read", fault.Unavailable, err)
		}
	}
	return scanResult(engine.Rules(), s.Close(), lines), nil
}

func scanResult(rules []scan.Rule, r scan.Result, lines []int) ScanResult {
	out := ScanResult{Bytes: r.Bytes, Rules: len(rules), Findings: []ScanFinding{}, Unscanned: []ScanGap{}, Worst: r.Worst()}
	fired := map[string]bool{}
	for i := range r.Findings {
		f := &r.Findings[i]
		line := sort.SearchInts(lines, f.Start+1)
		k := sort.Search(len(rules), func(i int) bool { return rules[i].ID >= f.Rule })
		out.Findings = append(out.Findings, ScanFinding{
			Rule: f.Rule, Title: rules[k].Title, Severity: scanSeverities[f.Severity], Level: f.Severity, Confidence: f.Confidence, MayBlock: f.Block,
			Start: f.Start, End: f.End, Line: line, Column: f.Start - lines[line-1] + 1, Detail: f.Detail,
		})
		if !fired[f.Rule] {
			fired[f.Rule] = true
			out.Fired = append(out.Fired, ScanRule{rules[k].ID, rules[k].Title, rules[k].Source})
		}
	}
	for _, g := range r.Unscanned {
		out.Unscanned = append(out.Unscanned, ScanGap(g))
	}
	return out
}
