package label

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func genLabel() *rapid.Generator[Label] {
	return rapid.Custom(func(t *rapid.T) Label {
		return Label{
			Compartments: Compartments(rapid.Uint64().Draw(t, "k")),
			Level:        Level(rapid.IntRange(0, 3).Draw(t, "c")),
			Integrity:    Integrity(rapid.IntRange(0, 2).Draw(t, "i")),
		}
	})
}

func TestLattice(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b, c := genLabel().Draw(t, "a"), genLabel().Draw(t, "b"), genLabel().Draw(t, "c")
		j := a.Join(b)
		switch {
		case j != b.Join(a):
			t.Fatal("join is not commutative")
		case a.Join(b.Join(c)) != j.Join(c):
			t.Fatal("join is not associative")
		case a.Join(a) != a:
			t.Fatal("join is not idempotent")
		case !a.FlowsTo(j) || !b.FlowsTo(j):
			t.Fatal("join is not an upper bound")
		case a.FlowsTo(c) && b.FlowsTo(c) && !j.FlowsTo(c):
			t.Fatal("join is not the least upper bound")
		case a.FlowsTo(b) && b.FlowsTo(a) && a != b:
			t.Fatal("flow is not antisymmetric")
		case a.FlowsTo(b) && b.FlowsTo(c) && !a.FlowsTo(c):
			t.Fatal("flow is not transitive")
		case a.FlowsTo(b) != (a.Join(b) == b):
			t.Fatal("flow and join disagree")
		case !a.FlowsTo(Unlabelled) || !Bottom.FlowsTo(a):
			t.Fatal("bottom or top is not one")
		}
	})
}

func TestTextRoundTrip(t *testing.T) {
	scheme := Scheme{Compartments: []string{"hr", "fin"}}
	rapid.Check(t, func(t *rapid.T) {
		a := genLabel().Draw(t, "a")
		for _, s := range []Scheme{{}, scheme} {
			back, err := s.Parse(s.Format(a))
			if err != nil || back != a {
				t.Fatalf("%s came back as %v, %v", s.Format(a), back, err)
			}
		}
	})
}

func TestParse(t *testing.T) {
	tests := []struct {
		in   string
		want Label
		ok   bool
	}{
		{"internal/foreign", Label{Level: Internal}, true},
		{"internal", Label{Level: Internal}, true},
		{"secret{*}/foreign", Unlabelled, true},
		{"public/signed", Bottom, true},
		{"confidential{c0,c63}/member", Label{Level: Confidential, Integrity: Member, Compartments: 1 | 1<<63}, true},
		{"", Label{}, false},
		{"Internal", Label{}, false},
		{"internal/", Label{}, false},
		{"internal{}/foreign", Label{}, false},
		{"internal{c64}/foreign", Label{}, false},
		{"internal{c1/foreign", Label{}, false},
		{"internal{c1}x/foreign", Label{}, false},
		{"internal/foreign/member", Label{}, false},
	}
	for _, tt := range tests {
		got, err := Parse(tt.in)
		if (err == nil) != tt.ok {
			t.Errorf("Parse(%q): error %v, want ok %v", tt.in, err, tt.ok)
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("Parse(%q) (-want +got):\n%s", tt.in, diff)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"internal/foreign", "secret{*}/member", "public{c1,c2}/signed", "{", "/", "secret{c1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, err := Parse(s)
		if err != nil {
			return
		}
		if back, err := Parse(a.String()); err != nil || back != a {
			t.Fatalf("%q parsed to %v, which comes back as %v, %v", s, a, back, err)
		}
	})
}

func BenchmarkJoin(b *testing.B) {
	x, y := New(Internal, Member, 5), New(Secret, Foreign, 9)
	var sink Label
	for b.Loop() {
		sink = sink.Join(x).Join(y)
	}
	if sink.Level != Secret {
		b.Fatal(sink)
	}
}
