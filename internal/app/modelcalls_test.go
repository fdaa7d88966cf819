package app

import (
	"testing"

	"sallyport/internal/config"
	"sallyport/internal/egress"
	"sallyport/internal/fault"
)

// TestTargetsTellHostsApart: two servers of one model are two models, or one
// agent's calls would go to the other's server.
func TestTargetsTellHostsApart(t *testing.T) {
	here := config.Model{Provider: "openai", Model: "m"}
	there, other := here, here
	there.BaseURL, other.BaseURL = "http://127.0.0.1:1/v1", "http://127.0.0.1:2/v1"
	if targetOf(here) != "openai/m" || targetOf(there) != "openai/m@127.0.0.1:1" || targetOf(there) == targetOf(other) {
		t.Errorf("targets %s, %s, %s", targetOf(here), targetOf(there), targetOf(other))
	}
}

// TestAliasesOfOneModelAgree: settings of an alias are never ignored.
func TestAliasesOfOneModelAgree(t *testing.T) {
	base := config.Model{Provider: "openai", Model: "m", BaseURL: "http://127.0.0.1:1", Price: &config.Price{Input: 1, Output: 1}}
	same, dear := base, base
	same.Price, dear.Price = &config.Price{Input: 1, Output: 1}, &config.Price{Input: 2, Output: 2}
	cfg := config.Default()
	cfg.Models = map[string]config.Model{"base": base, "same": same, "dear": dear}
	m, env, dial := newModelCalls(), config.NewEnv(nil, ""), egress.New(egress.Config{})
	for _, name := range []string{"base", "same"} {
		if _, err := m.wire(cfg, env, dial, name); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	if _, err := m.wire(cfg, env, dial, "dear"); !fault.Is(err, fault.Config) {
		t.Errorf("an alias with another price: %v", err)
	}
}
