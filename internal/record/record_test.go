package record

import (
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"sallyport/internal/action"
)

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func TestGrantCovers(t *testing.T) {
	base := Grant{Agent: "sarah", Kind: action.Exec, Target: "s1", Expires: epoch.Add(time.Hour)}
	a := action.Action{Agent: "sarah", Kind: action.Exec, Target: "s1"}
	tests := map[string]struct {
		change func(*Grant, *action.Action)
		want   bool
	}{
		"exact":             {func(*Grant, *action.Action) {}, true},
		"prefix":            {func(g *Grant, _ *action.Action) { g.Target = "s*" }, true},
		"everything":        {func(g *Grant, _ *action.Action) { g.Target = "*" }, true},
		"star in middle":    {func(g *Grant, _ *action.Action) { g.Target = "*1" }, false},
		"other agent":       {func(_ *Grant, a *action.Action) { a.Agent = "bob" }, false},
		"other kind":        {func(_ *Grant, a *action.Action) { a.Kind = action.FileWrite }, false},
		"target longer":     {func(_ *Grant, a *action.Action) { a.Target = "s12" }, false},
		"expired":           {func(g *Grant, _ *action.Action) { g.Expires = epoch }, false},
		"revoked":           {func(g *Grant, _ *action.Action) { g.Revoked = true }, false},
		"empty is no match": {func(g *Grant, _ *action.Action) { g.Target = "" }, false},
	}
	for name, tt := range tests {
		g, act := base, a
		tt.change(&g, &act)
		if got := g.Covers(act, epoch); got != tt.want {
			t.Errorf("%s: covers = %v, want %v", name, got, tt.want)
		}
	}
}

// TestWithinNeverWidens checks delegation: whatever a child within its parent
// covers, the parent covers.
func TestWithinNeverWidens(t *testing.T) {
	target := rapid.StringMatching(`[ab]{0,3}\*?`)
	grant := rapid.Custom(func(t *rapid.T) Grant {
		return Grant{
			Agent: rapid.SampledFrom([]string{"x", "y"}).Draw(t, "agent"), Kind: action.Exec,
			Target: target.Draw(t, "target"), Uses: rapid.IntRange(0, 2).Draw(t, "uses"),
			Expires: epoch.Add(time.Duration(rapid.IntRange(-1, 2).Draw(t, "exp")) * time.Hour),
			Revoked: rapid.Bool().Draw(t, "revoked"),
		}
	})
	rapid.Check(t, func(t *rapid.T) {
		parent, child := grant.Draw(t, "parent"), grant.Draw(t, "child")
		a := action.Action{Agent: "x", Kind: action.Exec, Target: strings.TrimSuffix(target.Draw(t, "action"), "*")}
		if child.Within(parent) && child.Covers(a, epoch) && !parent.Covers(a, epoch) {
			t.Fatalf("child %+v is within %+v but covers %q alone", child, parent, a.Target)
		}
	})
}
