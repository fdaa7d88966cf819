package price

import (
	"bytes"
	"math"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"sallyport/internal/fault"
	"sallyport/internal/llm"
)

func table(t testing.TB) *Table {
	t.Helper()
	tab, err := Shipped()
	if err != nil {
		t.Fatal(err)
	}
	return tab
}

func TestShippedPrices(t *testing.T) {
	tab := table(t)
	for _, tt := range []struct {
		provider, model string
		usage           llm.Usage
		micros          int64
	}{
		{"anthropic", "claude-3-opus-20240229", llm.Usage{Input: 1_000_000, Output: 1_000_000}, 90_000_000},
		{"anthropic", "claude-3-opus-latest", llm.Usage{CacheRead: 1_000_000, CacheWrite: 1_000_000}, 20_250_000},
		{"anthropic", "claude-haiku-5-5", llm.Usage{Input: 100_000, Output: 1000}, 10_500},
		{"anthropic", "claude-haiku-5-5", llm.Usage{Input: 99_000, CacheRead: 1001, Output: 1000}, 49_500 + 51 + 2500},
		{"openai", "gpt-4-turbo", llm.Usage{Input: 1000, Output: 1000}, 40_000},
		{"openai", "GPT-4o-mini", llm.Usage{Input: 1}, 1}, // 0.15 micro-dollars, rounded up
		{"openai", "gpt-4o-mini", llm.Usage{Input: 100, CacheRead: 100, Output: 3, Reasoning: 3}, 25},
		{"google", "gemini-pro", llm.Usage{Input: 2, Output: 2}, 4},
		{"google", "gemini-2.5-pro", llm.Usage{Input: 200_000, Output: 10}, 250_100},
		{"google", "gemini-2.5-pro", llm.Usage{Input: 200_001, Output: 10}, 500_153},
		{"local", "whatever:8b", llm.Usage{Input: math.MaxInt64, Output: math.MaxInt64}, 0},
		{"builtin", "auditor", llm.Usage{Input: 5}, 0},
		{"openai", "gpt-4", llm.Usage{Input: math.MaxInt64, Output: math.MaxInt64}, math.MaxInt64},
		{"openai", "gpt-4", llm.Usage{Input: -5, Output: -5}, 0},
		{"openai", "gpt-4", llm.Usage{}, 0},
	} {
		p, ok := tab.Lookup(tt.provider, tt.model)
		if !ok {
			t.Errorf("no price for %s/%s", tt.provider, tt.model)
			continue
		}
		if got := p.Cost(tt.usage); got != tt.micros {
			t.Errorf("%s %+v costs %d, want %d", tt.model, tt.usage, got, tt.micros)
		}
	}
}

func TestUnknownModelIsRefused(t *testing.T) {
	for _, m := range []string{"gpt-4o-2", "gpt", "", "*"} {
		if _, err := table(t).Require("openai", m); !fault.Is(err, fault.Config) || !strings.Contains(err.Error(), "under models:") {
			t.Errorf("%q: %v", m, err)
		}
	}
}

func TestOverride(t *testing.T) {
	tab := table(t)
	own, err := tab.With(Price{Provider: "openai", Model: "gpt-4", Input: 7, Output: 9, CacheRead: 7, CacheWrite: 7})
	if err != nil {
		t.Fatal(err)
	}
	if p, _ := own.Lookup("openai", "gpt-4"); p.Input != 7 {
		t.Errorf("the override is not found: %+v", p)
	}
	if p, _ := tab.Lookup("openai", "gpt-4"); p.Input == 7 {
		t.Error("the override changed the table it came from")
	}
	for _, bad := range []Price{
		{},
		{Provider: "p", Model: "m", Input: -1},
		{Provider: "p", Model: "*", Input: 1},
		{Provider: "p", Model: "m", Input: 5, Over: &Tier{Tokens: 9, Input: 4}},
	} {
		if _, err := tab.With(bad); !fault.Is(err, fault.Config) {
			t.Errorf("%+v: %v", bad, err)
		}
	}
}

func TestParseRate(t *testing.T) {
	for in, want := range map[string]Rate{"0": 0, "15": 15_000_000, "0.075": 75_000, "0.000001": 1, "2.50": 2_500_000, "1000000": MaxRate} {
		if got, err := ParseRate(in); err != nil || got != want {
			t.Errorf("%q: %d %v", in, got, err)
		}
	}
	for _, in := range []string{"", ".", "1.", ".5", "-1", "1e3", "0.0000001", "1000000.1", "99999999", "1,5", " 1", "NaN"} {
		if got, err := ParseRate(in); err == nil {
			t.Errorf("%q was read as %d", in, got)
		}
	}
}

func TestBadTables(t *testing.T) {
	head := `{"version":1,"currency":"USD","unit":"per million tokens","rows":[`
	good := `{"provider":"p","model":"m","input":"1","output":"2","as_of":"2026-01-01","source":"s"}`
	if _, err := Load(strings.NewReader(head + good + "]}")); err != nil {
		t.Fatal(err)
	}
	for name, doc := range map[string]string{
		"twice":       head + good + "," + good + "]}",
		"no date":     head + strings.Replace(good, "2026-01-01", "", 1) + "]}",
		"no source":   head + strings.Replace(good, `"s"`, `""`, 1) + "]}",
		"no output":   head + strings.Replace(good, `"output":"2",`, "", 1) + "]}",
		"unknown key": head + strings.Replace(good, `"input"`, `"imput"`, 1) + "]}",
		"wildcard":    head + strings.Replace(good, `"m"`, `"*"`, 1) + "]}",
		"cheap tier":  head + strings.Replace(good, `"as_of"`, `"over":{"tokens":5,"input":"0.5","output":"2"},"as_of"`, 1) + "]}",
		"version":     strings.Replace(head, `:1`, `:2`, 1) + "]}",
	} {
		if _, err := Load(strings.NewReader(doc)); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
}

// TestReservationBounds: no usage within the bounds of a request costs more
// than what was reserved, and the output bound derived from a budget keeps it
// and is the largest that does.
func TestReservationBounds(t *testing.T) {
	tab := table(t)
	var all []Price
	for _, p := range tab.rows {
		all = append(all, p)
	}
	rapid.Check(t, func(t *rapid.T) {
		p := all[rapid.IntRange(0, len(all)-1).Draw(t, "row")]
		in := rapid.Int64Range(0, 2_000_000).Draw(t, "bytes")
		most := rapid.IntRange(1, 200_000).Draw(t, "most")
		budget := rapid.Int64Range(0, 50_000_000).Draw(t, "budget")
		n := p.MaxTokensFor(budget, in, most)
		if n == 0 {
			if p.MaxCost(in, 1) <= budget {
				t.Fatal("a call that can be paid for was refused")
			}
			return
		}
		if reserved := p.MaxCost(in, n); reserved > budget {
			t.Fatalf("%d tokens reserve %d of %d", n, reserved, budget)
		}
		if n < most && p.MaxCost(in, n+1) <= budget {
			t.Fatalf("%d tokens are not the most", n)
		}
		read := rapid.Int64Range(0, in).Draw(t, "read")
		write := rapid.Int64Range(0, in-read).Draw(t, "write")
		fresh := rapid.Int64Range(0, in-read-write).Draw(t, "fresh")
		u := llm.Usage{Input: fresh, CacheRead: read, CacheWrite: write, Output: rapid.Int64Range(0, int64(n)).Draw(t, "out")}
		if c := p.Cost(u); c > p.MaxCost(in, n) || c > budget {
			t.Fatalf("%+v costs %d, reserved %d", u, c, p.MaxCost(in, n))
		}
	})
}

func TestSettle(t *testing.T) {
	p := Price{Input: 1_000_000, Output: 2_000_000} // 1 and 2 micro-dollars a token
	known := llm.Response{Usage: llm.Usage{Input: 10, Output: 5}, UsageKnown: true}
	for name, tt := range map[string]struct {
		r      llm.Response
		failed bool
		want   int64
	}{
		"reported":                   {known, false, 20},
		"nothing reported":           {llm.Response{Text: "t"}, false, 100},
		"refused":                    {llm.Response{Attempts: 3}, true, 0},
		"broke off":                  {llm.Response{Text: "t", Unsettled: 1}, true, 100},
		"reported at the second try": {llm.Response{Usage: known.Usage, UsageKnown: true, Unsettled: 1}, false, 120},
		"broke off after figures":    {known, true, 20},
	} {
		if got := p.Settle(tt.r, tt.failed, 100); got != tt.want {
			t.Errorf("%s: %d, want %d", name, got, tt.want)
		}
	}
}

func TestInputBytesBoundsEveryPart(t *testing.T) {
	r := llm.Request{
		System: "sys", Messages: []llm.Message{{Role: llm.User, Text: "日本"}},
		Tools: []llm.Tool{{Name: "n", Description: "d", Schema: []byte("{}")}},
	}
	if got, want := InputBytes(r), int64(perCall+3+perMessage+6+perTool+4+anyTool); got != want {
		t.Fatalf("%d, want %d", got, want)
	}
}

func FuzzLoad(f *testing.F) {
	f.Add(shipped[:400])
	f.Add([]byte(`{"version":1,"currency":"USD","unit":"per million tokens","rows":[]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if tab, err := Load(bytes.NewReader(b)); err == nil {
			for _, p := range tab.rows {
				if p.check() != nil {
					t.Fatal("an unchecked row was loaded")
				}
			}
		}
	})
}
