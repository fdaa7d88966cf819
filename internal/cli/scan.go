package cli

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"sallyport/internal/app"
	"sallyport/internal/fault"
)

// scanCmd is `sallyport scan FILE|-`.
type scanCmd struct {
	File         string   `arg:"" help:"A file, or - for the standard input."`
	FailSeverity string   `default:"high" placeholder:"LEVEL" help:"End with 10 at this severity or above: note, low, medium, high, critical; default: high."`
	Sarif        bool     `help:"Write SARIF 2.1.0 for code scanners."`
	Only         []string `placeholder:"CLASS" help:"Only these detectors: secret, pii, injection, invisible, terminal, exfil, paths."`
	Keyword      []string `placeholder:"WORD" help:"Also look for this word in any case; words that are commands count as commands only."`
	KnownEnv     []string `placeholder:"NAME" help:"Also look for the value of this environment variable, in any coding."`
}

// Help teaches.
func (scanCmd) Help() string {
	return `Reads a text as an agent would meet it and shows secrets, personal identifiers,
orders to an agent, characters nobody sees, terminal escapes and addresses that
carry data, also where they are encoded. What was not read within the budget is
named and counts as a failure. What passes the gate in run, guard and proxy is read
by the same rules; there the configuration says what a finding leads to.
Ends with 10 at --fail-severity or above, with 0 below. Examples:
  sallyport scan README.md
  git diff | sallyport scan - --fail-severity critical
  sallyport scan page.html --only invisible,injection --json
  sallyport scan out.txt --known-env DEPLOY_KEY --sarif > out.sarif`
}

// Run scans.
func (s scanCmd) Run(c *call) error {
	limit, ok := app.ScanLevel(s.FailSeverity)
	if !ok {
		return fault.New("scan", fault.Usage, "--fail-severity %s is no severity; note, low, medium, high and critical are", visible(s.FailSeverity))
	}
	req := app.ScanRequest{Keywords: s.Keyword, Secrets: map[string]string{}}
	if len(s.Only) > 0 {
		req.Classes = s.Only
	}
	for _, name := range s.KnownEnv {
		value := c.env(name)
		if value == "" {
			return fault.New("scan", fault.Usage, "--known-env %s: the variable is not set, so there is nothing to look for; set it or leave the flag out", visible(name))
		}
		req.Secrets[name] = value
	}
	text, err := s.open(c)
	if err != nil {
		return err
	}
	got, err := app.Scan(text, req)
	if closed := text.Close(); err == nil && closed != nil {
		err = fault.Wrap("scan", fault.Unavailable, closed)
	}
	if err != nil {
		return err
	}
	switch {
	case s.Sarif:
		err = c.json(sarif(s.File, got))
	case c.flags.JSON:
		err = c.json(got)
	default:
		s.print(c, got)
	}
	if err == nil && (got.Worst >= limit || len(got.Unscanned) > 0) {
		err = programError{exitLevel} // the findings have been shown: there is nothing to add
	}
	return err
}

func (s scanCmd) open(c *call) (io.ReadCloser, error) {
	if s.File == "-" {
		return io.NopCloser(c.in), nil
	}
	f, err := os.Open(s.File)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fault.New("scan", fault.NotFound, "there is no file %s", visible(s.File))
	}
	if err != nil {
		return nil, fault.Wrap("scan", fault.Unavailable, err)
	}
	return f, nil
}

func (s scanCmd) print(c *call, got app.ScanResult) {
	paint := []func(string) string{nil, nil, nil, c.paint.yellow, c.paint.red, c.paint.red}
	if len(got.Findings) > 0 {
		t := table{cols: []column{{title: "LINE", right: true}, {title: "COLUMN", right: true}, {title: "SEVERITY"}, {title: "RULE"}, {title: "WHAT", flex: true}, {title: "DETAIL", flex: true}}}
		for _, f := range got.Findings {
			severity := plain(f.Severity)
			severity.color = paint[f.Level]
			t.add(plain(fmt.Sprint(f.Line)), plain(fmt.Sprint(f.Column)), severity, plain(f.Rule), plain(f.Title), plain(f.Detail))
		}
		t.print(c)
		c.printf("\n")
	}
	for _, g := range got.Unscanned {
		c.printf("bytes %d to %d were not read wholly (%s): treat them as untrusted\n", g.Start, g.End, visible(g.Because))
	}
	c.printf("%d findings in %d bytes, %d rules\n", len(got.Findings), got.Bytes, got.Rules)
}

// The parts of SARIF 2.1.0 that a viewer needs.
type (
	sarifLog struct {
		Schema  string     `json:"$schema"`
		Version string     `json:"version"`
		Runs    []sarifRun `json:"runs"`
	}
	sarifRun struct {
		Tool        sarifTool         `json:"tool"`
		Invocations []sarifInvocation `json:"invocations"`
		Results     []sarifResult     `json:"results"`
	}
	sarifInvocation struct {
		Successful bool `json:"executionSuccessful"`
	}
	sarifTool struct {
		Driver sarifDriver `json:"driver"`
	}
	sarifDriver struct {
		Name  string      `json:"name"`
		Rules []sarifRule `json:"rules"`
	}
	sarifRule struct {
		ID    string    `json:"id"`
		Short sarifText `json:"shortDescription"`
	}
	sarifText struct {
		Text string `json:"text"`
	}
	sarifResult struct {
		Rule       string          `json:"ruleId"`
		Level      string          `json:"level"`
		Message    sarifText       `json:"message"`
		Locations  []sarifLocation `json:"locations"`
		Properties map[string]any  `json:"properties"`
	}
	sarifLocation struct {
		Physical sarifPhysical `json:"physicalLocation"`
	}
	sarifPhysical struct {
		Artifact struct {
			URI string `json:"uri"`
		} `json:"artifactLocation"`
		Region sarifRegion `json:"region"`
	}
	sarifRegion struct {
		Line   int `json:"startLine"`
		Column int `json:"startColumn"`
		Offset int `json:"byteOffset"`
		Length int `json:"byteLength"`
	}
)

func sarif(file string, got app.ScanResult) sarifLog {
	run := sarifRun{Invocations: []sarifInvocation{{len(got.Unscanned) == 0}}, Results: []sarifResult{}}
	run.Tool.Driver = sarifDriver{Name: "sallyport", Rules: []sarifRule{}}
	for _, r := range got.Fired {
		run.Tool.Driver.Rules = append(run.Tool.Driver.Rules, sarifRule{r.ID, sarifText{r.Title}})
	}
	levels := []string{"none", "note", "note", "warning", "error", "error"}
	for _, f := range got.Findings {
		message := f.Title
		if f.Detail != "" {
			message += " (" + f.Detail + ")"
		}
		x := sarifResult{
			Rule: f.Rule, Level: levels[f.Level], Message: sarifText{message}, Locations: make([]sarifLocation, 1),
			Properties: map[string]any{"severity": f.Severity, "confidence": f.Confidence, "mayBlock": f.MayBlock},
		}
		x.Locations[0].Physical.Artifact.URI = file
		x.Locations[0].Physical.Region = sarifRegion{f.Line, f.Column, f.Start, f.End - f.Start}
		run.Results = append(run.Results, x)
	}
	return sarifLog{Schema: "https://json.schemastore.org/sarif-2.1.0.json", Version: "2.1.0", Runs: []sarifRun{run}}
}
