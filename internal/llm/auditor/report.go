package auditor

import (
	"encoding/json"
	"fmt"
	"sort"
	"strings"
)

// ReportVersion is the version of the JSON report's form.
const ReportVersion = 1

// Coverage counts what became of the checks of one patrol.
type Coverage struct {
	Checks       int `json:"checks"`        // in the catalogue, or in the topic asked for
	Ran          int `json:"ran"`           // read and judged
	OK           int `json:"ok"`            //
	Findings     int `json:"findings"`      //
	NotReadable  int `json:"not_readable"`  // closed to this user, or not finished
	NotInstalled int `json:"not_installed"` //
	Rotated      int `json:"rotated"`       // left to a later patrol
}

func (e *Engine) coverage(s *state, p *patrol) (cov Coverage, needs map[string]int) {
	needs = map[string]int{}
	for i := range e.checks {
		c := &e.checks[i]
		if p.topic != "" && c.Topic != p.topic {
			continue
		}
		cov.Checks++
		switch r := e.outcome(s, p, c.ID); r.status {
		case OK:
			cov.OK++
		case Finding:
			cov.Findings++
		case NotReadable:
			cov.NotReadable++
			needs[r.need]++
		case NotInstalled:
			cov.NotInstalled++
		default:
			cov.Rotated++
		}
	}
	cov.Ran = cov.OK + cov.Findings
	return cov, needs
}

// coverageLine leads every report and every closing comment.
func (e *Engine) coverageLine(s *state, p *patrol) string {
	cov, needs := e.coverage(s, p)
	parts := []string{fmt.Sprintf("%d of %d checks", cov.Ran, cov.Checks)}
	keys := make([]string, 0, len(needs))
	for k := range needs {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	for _, k := range keys {
		why, what := remedy(k, s.user)
		parts = append(parts, fmt.Sprintf("%d %s: %s", needs[k], why, what))
	}
	if cov.NotInstalled > 0 {
		parts = append(parts, fmt.Sprintf("%d not installed", cov.NotInstalled))
	}
	if cov.Rotated > 0 {
		parts = append(parts, fmt.Sprintf("%d rotated to a later patrol", cov.Rotated))
	}
	return strings.Join(parts, "; ")
}

// remedy says what opens a gap: why it is there, and what to do.
func remedy(need, user string) (why, what string) {
	if !groupRE().MatchString(user) {
		user = "USER"
	}
	switch need {
	case "root":
		return "need root", "run sallyport with sudo"
	case "collector":
		return "need facts the collector could not read", "run sallyport with sudo, or see coverage.tsv in " + factsDir
	case "time":
		return "did not finish in time", "they are tried again on the next patrol"
	}
	return "need membership in " + need, "sudo usermod -aG " + need + " " + user
}

// reportPlan lists the lines of a report in order. It holds only words of the
// catalogue and numbers; evidence is joined to it from the tracker, in the shell.
func (e *Engine) reportPlan(s *state, p *patrol) []string {
	found, fired := e.assess(s, p)
	plan := e.textPlan(s, p, found, fired)
	return append(plan, e.jsonPlan(s, p, found, fired)...)
}

func (e *Engine) textPlan(s *state, p *patrol, found []scored, fired []Correlation) []string {
	var plan []string
	text := func(f string, a ...any) { plan = append(plan, "plan:t\t"+fmt.Sprintf(f, a...)) }
	text("Coverage: %s", e.coverageLine(s, p))
	text("")
	text("Security Report - %%WHEN%%")
	text("Warning Level: %d", e.level(s, p))
	text("")
	text("Findings:")
	for i, f := range found {
		plan = append(plan, fmt.Sprintf("plan:f\tF%d\t%s\t%d\t%s", i+1, f.check.ID, f.severity, f.severity))
	}
	for _, c := range fired {
		text("- Together [%s, %s]: %s", c.ID, c.To, c.Text)
	}
	if len(found) == 0 {
		text("- Nothing out of the ordinary in what was checked")
	}
	text("")
	text("Recommendations:")
	for i, f := range found {
		plan = append(plan, fmt.Sprintf("plan:r\tF%d\t%s", i+1, f.check.ID))
	}
	text("- Continue monitoring: the next patrol checks the core again and the longest unseen rest")
	gaps, absent, later := e.gaps(s, p)
	if len(gaps)+len(absent)+len(later) > 0 {
		text("")
		text("Not checked:")
	}
	var closed []string
	for _, id := range gaps {
		need := e.outcome(s, p, id).need
		if need == "collector" { // one cause for many: name it once
			closed = append(closed, id)
			continue
		}
		_, what := remedy(need, s.user)
		plan = append(plan, "plan:u\t"+id+"\t"+what)
	}
	if len(closed) > 0 {
		why, what := remedy("collector", s.user)
		text("- Not known, they %s (%s): %s", why, what, strings.Join(closed, ", "))
	}
	if len(absent) > 0 {
		text("- Not installed: %s", strings.Join(absent, ", "))
	}
	if len(later) > 0 {
		text("- Rotated to a later patrol: %s", strings.Join(later, ", "))
	}
	return plan
}

func (e *Engine) gaps(s *state, p *patrol) (gaps, absent, later []string) {
	absent, later = []string{}, []string{}
	for i := range e.checks {
		c := &e.checks[i]
		if p.topic != "" && c.Topic != p.topic {
			continue
		}
		switch e.outcome(s, p, c.ID).status {
		case NotReadable:
			gaps = append(gaps, c.ID)
		case NotInstalled:
			absent = append(absent, c.ID)
		case OK, Finding:
		default:
			later = append(later, c.ID)
		}
	}
	return gaps, absent, later
}

func (e *Engine) jsonPlan(s *state, p *patrol, found []scored, fired []Correlation) []string {
	cov, _ := e.coverage(s, p)
	gaps, absent, later := e.gaps(s, p)
	var plan []string
	put := func(f string, a ...any) { plan = append(plan, "plan:j\t"+fmt.Sprintf(f, a...)) }
	put("{")
	put("  \"version\": %d,", ReportVersion)
	put("  \"host\": \"%%HOST%%\",")
	put("  \"date\": \"%%ISO%%\",")
	put("  \"patrol\": %d,", p.number)
	put("  \"topic\": %s,", quoteJSON(p.topic))
	put("  \"level\": %d,", e.level(s, p))
	put("  \"summary\": %s,", quoteJSON(e.coverageLine(s, p)))
	put("  \"coverage\": %s,", quoteJSON(cov))
	put("  \"findings\": [")
	for i, f := range found {
		plan = append(plan, fmt.Sprintf("plan:jf\tF%d\t%s\t%d\t%s\t%s", i+1, f.check.ID, f.severity, f.severity, comma(i, len(found))))
	}
	put("  ],")
	put("  \"correlations\": [")
	for i, c := range fired {
		put("    {\"id\":%s,\"raises\":%s,\"to\":%d,\"text\":%s}%s", quoteJSON(c.ID), quoteJSON(c.Raise), c.To, quoteJSON(c.Text), comma(i, len(fired)))
	}
	put("  ],")
	put("  \"not_checked\": {")
	put("    \"not_readable\": [")
	for i, id := range gaps {
		_, what := remedy(e.outcome(s, p, id).need, s.user)
		plan = append(plan, "plan:ju\t"+id+"\t"+what+"\t"+comma(i, len(gaps)))
	}
	put("    ],")
	put("    \"not_installed\": %s,", quoteJSON(absent))
	put("    \"rotated\": %s", quoteJSON(later))
	put("  }")
	put("}")
	return plan
}

func comma(i, n int) string {
	if i+1 < n {
		return ","
	}
	return ""
}

// quoteJSON renders values that always marshal: strings, numbers, lists of them.
func quoteJSON(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return "null"
	}
	return string(b)
}

// reportTopics names topic when its catalogue rows are needed for a report.
func (e *Engine) reportTopics(s *state, p *patrol, topic string) []string {
	for i := range e.checks {
		if c := &e.checks[i]; c.Topic == topic {
			if st := e.outcome(s, p, c.ID).status; st == Finding || st == NotReadable {
				return []string{topic}
			}
		}
	}
	return nil
}

// closing is the comment after a report: coverage first, never a bare level.
func (e *Engine) closing(s *state) string {
	p := s.finished
	found, _ := e.assess(s, p)
	count := map[Severity]int{}
	for _, f := range found {
		count[f.severity]++
	}
	var by []string
	for sev := Critical; sev >= Info; sev-- {
		if count[sev] > 0 {
			by = append(by, fmt.Sprintf("%d %s", count[sev], sev))
		}
	}
	what := "no findings"
	if len(by) > 0 {
		what = strings.Join(by, ", ")
	}
	return fmt.Sprintf("Coverage: %s. Warning level %d: %s. Report: security_reports/%s.txt",
		e.coverageLine(s, p), e.level(s, p), what, s.report)
}
