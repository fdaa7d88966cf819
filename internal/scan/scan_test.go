package scan

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func compile(t testing.TB, o Options) *Engine {
	t.Helper()
	e, err := Compile(o)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// rulesOf lists the rules that fire on a text, in order, once each.
func rulesOf(r Result) string {
	var out []string
	for _, f := range r.Findings {
		if !slices.Contains(out, f.Rule) {
			out = append(out, f.Rule)
		}
	}
	return strings.Join(out, " ")
}

// sample writes a text that a pattern describes.
func sample(p *pattern, r *rand.Rand) string {
	var b strings.Builder
	for _, e := range p.elems {
		var all []byte
		for c := range 256 {
			if e.set.has(byte(c)) {
				all = append(all, byte(c))
			}
		}
		n := e.min
		if e.max > e.min && e.min == 0 && r.IntN(2) == 0 {
			n = 1
		}
		for range n {
			b.WriteByte(all[r.IntN(len(all))])
		}
	}
	return b.String()
}

// TestEveryShapeFindsItself: each rule of the file finds a text made from its
// own form, whatever stands around it, unless a checksum says no.
func TestEveryShapeFindsItself(t *testing.T) {
	e := compile(t, Options{Classes: []string{"secret"}})
	r := rand.New(rand.NewPCG(1, 2))
	for _, rule := range e.tokens {
		if rule.check != nil {
			continue
		}
		id := e.rules[rule.rule].ID
		found := 0
		for range 8 {
			text := "let x = '" + sample(rule.pattern, r) + "';\n"
			for _, f := range e.Scan([]byte(text)).Findings {
				if f.Rule == id || classOf(f.Rule) == "secret" && f.Start <= 9 {
					found++
					break
				}
			}
		}
		if found < 6 { // entropy refuses a few
			t.Errorf("%s finds %d of 8, the last like %q", id, found, sample(rule.pattern, r))
		}
	}
}

func TestShapes(t *testing.T) {
	e := compile(t, Options{})
	for _, c := range []struct{ name, text, want string }{
		{"checksum holds", "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", "secret.github-pat"},
		{"checksum fails", "ghp_zQWBuTSOoRi4A9spHcVY5ncnsDkxkJ0mLq18", "secret.github-pat-shape"},
		{"part of a word", "x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", ""},
		{"too long", "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a", ""},
		{"behind an escape", `"line\n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"`, "secret.github-pat"},
		{"in base64", "Z2hwX3pRV0J1VFNPb1JpNEE5c3BIY1ZZNW5jbnNEa3hrSjBtTHExNw==", "secret.github-pat"},
		{"in hex", "6768705f7a51574275 54534f6f526934413973704863565935", ""},
		{"zero width inside", "ghp_zQWBuTSOoRi4A9sp\u200bHcVY5ncnsDkxkJ0mLq17", "secret.github-pat invisible.zero-width"},
		{"full width", "\uff47\uff48\uff50_zQWBuTSOoRi4A9spHcVY5ncnsDkxkJ0mLq17", "secret.github-pat"},
		{"aws", "aws_access_key_id = AKIAQ3EGRIHNTZ7LJ2XV", "secret.aws-access-key"},
		{"pem mention", "the file begins with -----BEGIN PRIVATE KEY----- and then base64", ""},
		{"placeholder", `api_key = "your-api-key-goes-here-please-1"`, ""},
		{"git hash", "commit 8f14e45fceea167a5a36dedd4bea2543c0ffee12", ""},
		{"url password", "postgres://app:Tr0ub4dor@db.internal:5432/x", "secret.url-password"},
		{"url placeholder", "postgres://user:password@localhost/x", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, rulesOf(e.Scan([]byte(c.text)))); diff != "" {
				t.Error(diff)
			}
		})
	}
}
