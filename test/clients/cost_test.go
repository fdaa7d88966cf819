package clients

import (
	"encoding/json"
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sallyport/test/clients/launch"
	"sallyport/test/fakes/modelserver"
)

// prices of the test's models, in dollars per million tokens.
var prices = map[string]float64{"input": 2.5, "output": 10, "cache_read": 0.25, "cache_write": 3.125}

// bill is what `sallyport cost` tells in one row.
type bill struct {
	Calls      int     `json:"calls"`
	Input      int64   `json:"input_tokens"`
	Output     int64   `json:"output_tokens"`
	CacheRead  int64   `json:"cache_read_tokens"`
	CacheWrite int64   `json:"cache_write_tokens"`
	Reasoning  int64   `json:"reasoning_tokens"`
	Dollars    float64 `json:"dollars"`
}

// add counts a call, each rounded up to a millionth of a dollar.
func (b *bill) add(u modelserver.Usage) {
	b.Calls++
	b.Input += u.Input
	b.Output += u.Output
	b.CacheRead += u.CacheRead
	b.CacheWrite += u.CacheWrite
	b.Reasoning += u.Reasoning
	micros := float64(u.Input)*prices["input"] + float64(u.Output)*prices["output"] + float64(u.CacheRead)*prices["cache_read"] + float64(u.CacheWrite)*prices["cache_write"]
	b.Dollars = math.Round(b.Dollars*1e6+math.Ceil(micros)) / 1e6
}

// TestCost: what `sallyport cost` sums is the scripted usage times the price, by
// key, agent, model and day.
func TestCost(t *testing.T) {
	installed(t)
	vendors := map[string][2]string{"chat": {"openai", "gpt-test"}, "responses": {"openai", "gpt-test"}, "messages": {"anthropic", "claude-test"}, "gemini": {"gemini", "gemini-test"}}
	want := map[string]map[string]bill{"key": {}, "agent": {}, "model": {}, "day": {}}
	l := newLab(t)
	keys := costlyProxy(t, l)
	day := time.Now().UTC().Format(time.DateOnly)
	for i, c := range clients() {
		if c.sdk != "go" {
			continue
		}
		key := keys[i%2]
		for _, mode := range modes {
			for _, u := range scripted {
				if c.api != "messages" {
					u.CacheWrite = 0 // no other API has it
				}
				l.model.Say(modelserver.Reply{Text: "So.", Usage: &u})
				if r := c.drive(t, l.dir, l.proxy.Base, key.token, mode); r.Error != "" {
					t.Fatal(r.Error)
				}
				vendor := vendors[c.api]
				for by, name := range map[string]string{"key": "of-" + key.agent, "agent": key.agent, "model": vendor[0] + "@" + l.model.Addr() + "/" + vendor[1], "day": day} {
					b := want[by][name]
					b.add(u)
					want[by][name] = b
				}
			}
		}
	}
	if day != time.Now().UTC().Format(time.DateOnly) {
		t.Skip("SKIPPED: a day ended meanwhile")
	}
	l.proxy.Stop(t)
	for by, rows := range want {
		var v struct {
			Costs []struct {
				Key string `json:"key"`
				bill
			} `json:"costs"`
		}
		if err := json.Unmarshal([]byte(l.proxy.Run(t, "cost", "--by", by, "--json")), &v); err != nil {
			t.Fatal(err)
		}
		got := map[string]bill{}
		for _, r := range v.Costs {
			got[r.Key] = r.bill
		}
		if d := cmp.Diff(rows, got); d != "" {
			t.Errorf("by %s (-want +got)\n%s", by, d)
		}
	}
}

// payer is an agent with a key of the proxy.
type payer struct{ agent, token string }

// costlyProxy opens a proxy whose models have a price, with two keys of two
// agents.
func costlyProxy(t *testing.T, l *lab) [2]payer {
	t.Helper()
	type object = map[string]any
	var settings object
	if err := json.Unmarshal(launch.Settings(t, l.model.URL, nil), &settings); err != nil {
		t.Fatal(err)
	}
	models := object{}
	for vendor, name := range map[string]string{"openai": "gpt-test", "anthropic": "claude-test", "gemini": "gemini-test"} {
		models[vendor] = object{"provider": vendor, "model": name, "price": prices}
	}
	settings["models"] = models
	b, err := json.Marshal(settings)
	if err != nil {
		t.Fatal(err)
	}
	l.proxy = launch.Start(t, l.dir, modelKey, b)
	var keys [2]payer
	for i, agent := range []string{"ann", "bob"} {
		var v struct{ Token string }
		if err := json.Unmarshal([]byte(l.proxy.Run(t, "keys", "create", "of-"+agent, "--agent", agent, "--json")), &v); err != nil {
			t.Fatal(err)
		}
		keys[i] = payer{agent, v.Token}
	}
	return keys
}
