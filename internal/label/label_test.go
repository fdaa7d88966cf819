package label

import (
	"strings"
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
		case !a.Meet(b).FlowsTo(a) || !a.Meet(b).FlowsTo(b):
			t.Fatal("meet is not a lower bound")
		case c.FlowsTo(a) && c.FlowsTo(b) && !c.FlowsTo(a.Meet(b)):
			t.Fatal("meet is not the greatest lower bound")
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

// genScheme draws names, many of which are standard ones: in their own place,
// which is allowed, or in another's, which is not.
func genScheme() *rapid.Generator[Scheme] {
	name := rapid.OneOf(rapid.StringMatching(`[a-d]{1,3}|c[0-9]{1,2}|[a-z][a-z0-9_-]{0,6}`), rapid.SampledFrom([]string{"", "public", "internal", "secret"}))
	return rapid.Custom(func(t *rapid.T) Scheme {
		return Scheme{
			Levels:       rapid.SliceOfN(name, 0, 4).Draw(t, "levels"),
			Compartments: rapid.SliceOfN(name, 0, 8).Draw(t, "compartments"),
		}
	})
}

// TestTextRoundTrip: what a checked scheme prints it reads back, two labels
// never print alike, and standard names stay readable.
func TestTextRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := genLabel().Draw(t, "a"), genLabel().Draw(t, "b")
		s := genScheme().Draw(t, "scheme")
		if s.Check() != nil {
			t.Skip("refused")
		}
		for _, s := range []Scheme{{}, s, {Levels: []string{"open", "staff", "board", "crown"}, Compartments: []string{"hr", "fin"}}} {
			if back, err := s.Parse(s.Format(a)); err != nil || back != a {
				t.Fatalf("%s came back as %v, %v", s.Format(a), back, err)
			}
			if back, err := s.Parse(a.String()); err != nil || back != a {
				t.Fatalf("%s, by standard names, came back as %v, %v", a, back, err)
			}
			if (a == b) != (s.Format(a) == s.Format(b)) {
				t.Fatalf("%v and %v print as %s and %s", a, b, s.Format(a), s.Format(b))
			}
		}
	})
}

func TestScheme(t *testing.T) {
	many := make([]string, 65)
	tests := map[string]struct {
		scheme Scheme
		want   string // part of the error, empty if there is none
	}{
		"none":                                  {Scheme{}, ""},
		"ours":                                  {Scheme{Levels: []string{"open", "", "board"}, Compartments: []string{"hr", "fin"}}, ""},
		"standard in its place":                 {Scheme{Levels: []string{"public"}, Compartments: []string{"c0"}}, ""},
		"a level and a compartment of one name": {Scheme{Levels: []string{"hr"}, Compartments: []string{"hr"}}, ""},
		"too many levels":                       {Scheme{Levels: many[:5]}, "5 level names"},
		"too many compartments":                 {Scheme{Compartments: many}, "65 compartment names"},
		"twice":                                 {Scheme{Compartments: []string{"hr", "fin", "hr"}}, "number 0 and 2"},
		"another's standard level":              {Scheme{Levels: []string{"open", "secret"}}, "standard name of number 3"},
		"another's standard compartment":        {Scheme{Compartments: []string{"c1"}}, "standard name of number 1"},
		"punctuation":                           {Scheme{Compartments: []string{"hr,fin"}}, "must be"},
		"capital":                               {Scheme{Levels: []string{"Open"}}, "must be"},
		"star":                                  {Scheme{Compartments: []string{"*"}}, "must be"},
		"too long":                              {Scheme{Compartments: []string{strings.Repeat("a", 33)}}, "must be"},
	}
	for name, tt := range tests {
		err := tt.scheme.Check()
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error %v, want %q", name, err, tt.want)
		}
	}
	s := Scheme{Levels: []string{"open", "", "board"}, Compartments: []string{"hr", "", "fin"}}
	if got, want := s.Format(New(2, Member, 7)), "board{hr,c1,fin}/member"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	_, err := s.Parse("crown")
	if err == nil || !strings.Contains(err.Error(), "use open, internal, board, secret") {
		t.Errorf("an unknown level: %v", err)
	}
	if _, err := s.Parse("board{}"); err == nil {
		t.Error("an empty set was read")
	}
	if _, err := s.Parse("board{hr,sales}"); err == nil || !strings.Contains(err.Error(), `unknown compartment "sales": use hr, fin`) {
		t.Errorf("an unknown compartment: %v", err)
	}
	if _, err := Parse("secret{hr}"); err == nil || !strings.Contains(err.Error(), "none has a name") {
		t.Errorf("a compartment where none has a name: %v", err)
	}
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
	for _, s := range []string{"internal/foreign", "secret{*}/member", "public{c1,c2}/signed", "board{hr,c1}", "{", "/", "secret{c1", "internal{}", "open{,}"} {
		f.Add(s)
	}
	named := Scheme{Levels: []string{"open", "", "board"}, Compartments: []string{"hr", "", "fin"}}
	f.Fuzz(func(t *testing.T, text string) {
		for _, s := range []Scheme{{}, named} {
			a, err := s.Parse(text)
			if err != nil {
				continue
			}
			if back, err := s.Parse(s.Format(a)); err != nil || back != a || !a.Valid() {
				t.Fatalf("%q parsed to %v, which comes back as %v, %v", text, a, back, err)
			}
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
