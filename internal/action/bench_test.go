package action

import (
	"strings"
	"testing"

	"sallyport/internal/label"
)

// BenchmarkDigest measures the digest of a model call of 24 KB, the size of a
// full context of 6,000 tokens.
func BenchmarkDigest(b *testing.B) {
	msgs := make([]any, 24)
	for i := range msgs {
		msgs[i] = map[string]any{"role": "user", "text": strings.Repeat("drwxr-xr-x 2 root\n", 57)}
	}
	a := Action{Kind: ModelCall, Target: "builtin/auditor", Agent: "sarah", Args: map[string]any{"messages": msgs}}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := a.Digest(label.Bottom, "set"); err != nil {
			b.Fatal(err)
		}
	}
}
