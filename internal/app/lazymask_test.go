package app

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"sallyport/internal/config"
)

// TestBrokenMaskKeepsNothing: a masker that cannot be made hides everything.
func TestBrokenMaskKeepsNothing(t *testing.T) {
	cfg := config.Default()
	cfg.DataMasking.Patterns = []config.MaskPattern{{Name: "nothing", Regex: "x*", Replacement: "y"}}
	m := newLazyMasker(cfg, config.NewEnv(nil, ""))
	if _, err := m.get(); err == nil {
		t.Fatal("a pattern that matches nothing was taken")
	}
	if got := m.value("secret"); got != "[masked]" {
		t.Errorf("a text became %v", got)
	}
	if got, _ := m.value(map[string]any{"a": "secret"}).(map[string]any); got["a"] != nil || got["omitted"] == nil {
		t.Errorf("data became %v", got)
	}
	cfg.DataMasking.Enabled = false
	if diff := cmp.Diff("secret", newLazyMasker(cfg, config.NewEnv(nil, "")).value("secret")); diff != "" {
		t.Error(diff)
	}
}
