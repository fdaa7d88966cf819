package app

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"maps"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"sallyport/internal/egress"
	"sallyport/internal/fault"
	"sallyport/internal/scan"
)

// egressCase is one row of agent-egress-bench.
type egressCase struct {
	ID, Category string
	InputType    string `json:"input_type"`
	Payload      json.RawMessage
	Expected     string `json:"expected_verdict"`
}

// concerned are the categories that all must be right: those about HTTP,
// addresses, headers, encodings and shells.
var concerned = []string{
	"url", "request_body", "headers", "encoding_evasion", "ssrf_bypass", "hostname_exfiltration", "shell_obfuscation",
	"crypto_financial", "false_positive", "response_fetch", "response_mitm",
}

// egressJudge decides a case by what the product has: the detectors over a
// call's arguments and over what comes back, and the dialer's address classes.
// Every public name counts as reachable, so that no rule about hosts helps.
type egressJudge struct {
	engine *scan.Engine
	dialer func(host string) *egress.Dialer
}

func newEgressJudge(t *testing.T) *egressJudge {
	t.Helper()
	e, err := scan.Compile(scan.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return &egressJudge{e, func(host string) *egress.Dialer {
		return egress.New(egress.Config{Hosts: map[string][]netip.Addr{host: {netip.MustParseAddr("8.8.8.8")}}})
	}}
}

// reaches asks the dialer about an address. The context has ended, so what is
// not refused fails before anything is sent.
func (j *egressJudge) reaches(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return "no address: " + err.Error()
	}
	port := u.Port()
	if port == "" {
		port = "443"
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	host := u.Hostname()
	if bytes.ContainsRune([]byte(host), ':') {
		host = "[" + host + "]"
	}
	_, err = j.dialer(u.Hostname()).DialContext(ctx, "tcp", host+":"+port)
	if fault.KindOf(err) == fault.Denied {
		return "destination: " + fault.PublicText(err)
	}
	return ""
}

// severe gives the first finding that counts as a block.
func severe(r scan.Result) string {
	for _, f := range r.Findings {
		if f.Severity >= scan.High {
			return f.Rule
		}
	}
	if len(r.Unscanned) > 0 {
		return "unscanned: " + r.Unscanned[0].Because
	}
	return ""
}

func (j *egressJudge) arguments(raw []byte) string {
	leaves, across := j.engine.Arguments(raw)
	for _, l := range leaves {
		if why := severe(l.Result); why != "" {
			return l.Path + " " + why
		}
	}
	return severe(across)
}

// decide says why a case is blocked, "" if it is not.
func (j *egressJudge) decide(c egressCase) string {
	var p struct {
		URL      string
		Response *string          `json:"response_body"`
		Messages []map[string]any `json:"jsonrpc_messages"`
	}
	if err := json.Unmarshal(c.Payload, &p); err != nil {
		return "no payload: " + err.Error()
	}
	if p.Response != nil {
		return severe(j.engine.Scan([]byte(*p.Response)))
	}
	if p.URL != "" {
		if why := j.reaches(p.URL); why != "" {
			return why
		}
	}
	if len(p.Messages) == 0 {
		return j.arguments(c.Payload)
	}
	for _, m := range p.Messages {
		part := m["result"]
		if params, ok := m["params"].(map[string]any); ok {
			part = params
			if args, ok := params["arguments"]; ok {
				part = args
			}
		}
		raw, err := json.Marshal(part)
		if err != nil {
			return err.Error()
		}
		if why := j.arguments(raw); why != "" {
			return why
		}
	}
	return ""
}

// TestEgressBench reports every category and demands those it is about.
func TestEgressBench(t *testing.T) {
	dir := os.Getenv("SALLYPORT_EVAL_DATA")
	if dir == "" {
		t.Skip("SALLYPORT_EVAL_DATA names no folder with evaluation data")
	}
	data, err := os.ReadFile(filepath.Join(dir, "agent_egress_bench", "cases.jsonl"))
	if err != nil {
		t.Skip(err)
	}
	j := newEgressJudge(t)
	type score struct{ block, blocked, allow, allowed int }
	table := map[string]*score{}
	lines := bufio.NewScanner(bytes.NewReader(data))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var c egressCase
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			t.Fatal(err)
		}
		s := table[c.Category]
		if s == nil {
			s = &score{}
			table[c.Category] = s
		}
		why := j.decide(c)
		right := (why != "") == (c.Expected == "block")
		if c.Expected == "block" {
			s.block++
			s.blocked += count(right)
		} else {
			s.allow++
			s.allowed += count(right)
		}
		if os.Getenv("SALLYPORT_EVAL_SHOW") != "" {
			t.Logf("%s: %s", c.ID, cmpWhy(why))
		}
		if !right && slices.Contains(concerned, c.Category) {
			t.Errorf("%s: %s, %s is due", c.ID, cmpWhy(why), c.Expected)
		} else if !right {
			t.Logf("%s: %s, %s is due", c.ID, cmpWhy(why), c.Expected)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(table)) {
		s := table[name]
		t.Logf("%-24s block %d of %d, allow %d of %d", name, s.blocked, s.block, s.allowed, s.allow)
	}
}

func count(b bool) int {
	if b {
		return 1
	}
	return 0
}

func cmpWhy(why string) string {
	if why == "" {
		return "allowed"
	}
	return "blocked by " + why
}
