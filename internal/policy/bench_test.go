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
		b.Run(name, func(b *testing.B) { measure(b, e, q) })
	}
}

func measure(b *testing.B, e *Engine, q record.Question) {
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
}

// BenchmarkDecideNetwork decides destinations of a profile with 1,000 network
// rules, beside the 1,000 policies.
func BenchmarkDecideNetwork(b *testing.B) {
	var text strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&text, "@id(\"tool%d\") forbid (principal, action == Action::\"tool.call\", resource == Tool::\"server/tool%d\") when { context.label.level > 1 };\n", i, i)
	}
	s := guarded()
	s.Extra = []Source{{Name: "site.cedar", Text: text.String()}}
	p := s.Profiles["coder"]
	for i := range 400 {
		p.Network = append(p.Network,
			NetRule{Host: fmt.Sprintf("h%d.example", i), Clearance: internalForeign, Result: publicForeign},
			NetRule{Host: fmt.Sprintf("*.s%d.example", i), Paths: []string{"/v1/*"}, Clearance: internalForeign, Result: publicForeign})
	}
	for i := range 200 {
		p.Network = append(p.Network, NetRule{Host: fmt.Sprintf("172.16.%d.0/24", i), Ports: []uint16{5432}, Clearance: internalForeign, Result: publicForeign})
	}
	s.Profiles["coder"] = p
	e := engine(b, s)
	for name, q := range map[string]record.Question{
		"request":  request("coder", "GET", "a.b.s399.example", "/v1/x"),
		"connect":  connect("coder", "h399.example", 443, ""),
		"address":  connect("coder", "172.16.0.9", 5432, ""),
		"unlisted": connect("coder", "evil.example", 443, ""),
	} {
		b.Run(name, func(b *testing.B) { measure(b, e, q) })
	}
}

func BenchmarkLoad1000(b *testing.B) {
	for b.Loop() {
		thousand(b)
	}
}

// BenchmarkNew is what every start of the program pays for the generated rules.
func BenchmarkNew(b *testing.B) {
	s := nightwatch()
	for b.Loop() {
		engine(b, s)
	}
}
