package policy

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"sallyport/internal/action"
	"sallyport/internal/record"
)

// thousand adds 1,000 operator policies: 50 for exec that match by condition,
// the rest spread over tools by name.
func thousand(t testing.TB) *Engine {
	var b strings.Builder
	for i := range 50 {
		fmt.Fprintf(&b, "@id(\"exec%d\") forbid (principal, action == Action::\"exec\", resource) when { context.args has script && context.args.script like \"*needle%d*\" && context.label.level >= 3 };\n", i, i)
	}
	for i := range 950 {
		fmt.Fprintf(&b, "@id(\"tool%d\") forbid (principal, action == Action::\"tool.call\", resource == Tool::\"server/tool%d\") when { context.label.level > 1 && context.hist.calls > %d };\n", i, i%95, i)
	}
	return engine(t, withPolicies(b.String()))
}

func BenchmarkDecide1000(b *testing.B) {
	e := thousand(b)
	for name, q := range map[string]record.Question{
		"exec":  ask("night", action.Exec, "s", internalForeign, script("ls -la /etc")),
		"tool":  ask("night", action.ToolCall, "server/tool7", internalForeign, nil),
		"model": ask("night", action.ModelCall, "builtin/auditor", internalForeign, nil),
	} {
		b.Run(name, func(b *testing.B) {
			took := make([]time.Duration, 0, 1<<20)
			b.ReportAllocs()
			for b.Loop() {
				t := time.Now()
				e.Decide(q)
				took = append(took, time.Since(t))
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Nanoseconds()), "p50-ns")
			b.ReportMetric(float64(took[len(took)*99/100].Nanoseconds()), "p99-ns")
		})
	}
}

func BenchmarkLoad1000(b *testing.B) {
	for b.Loop() {
		thousand(b)
	}
}
