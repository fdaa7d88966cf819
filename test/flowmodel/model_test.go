package flowmodel

import (
	"os"
	"regexp"
	"strings"
	"testing"
	"time"
)

// worlds are explored to these depths, as far as fits into a few seconds of one
// core; 0 is to the end. With SALLYPORT_MODEL_FULL all are explored to the end,
// 28 million moves, the deepest after 25 of them.
var worlds = []struct {
	world    func() *World
	depth    int
	theorems []Theorem
}{
	{Mail, 0, []Theorem{Agreement, Rising, Secrecy}},
	{Family, 8, []Theorem{Agreement, Rising, Secrecy}},
	{Compartments, 7, []Theorem{Agreement, Rising, Secrecy}},
	{Start, 0, []Theorem{Agreement, Rising, Secrecy}},
	{Memory, 5, []Theorem{Agreement, Rising, Secrecy}},
	{Decided, 0, []Theorem{Agreement, Rising, Secrecy}},
	{Orders, 6, []Theorem{Agreement, Rising, Trust}},
	{Helpers, 6, []Theorem{Agreement, Rising, Trust}},
	{Bits, 0, []Theorem{Agreement, Rising, Extraction}},
	{Purse, 0, []Theorem{Agreement, Rising, Secrecy}},
	{Release, 0, []Theorem{Agreement, Rising, Secrecy, Authority}},
}

// TestWorlds: under the right rules every theorem holds in every state.
func TestWorlds(t *testing.T) {
	for _, tt := range worlds {
		w := tt.world()
		t.Run(w.Name, func(t *testing.T) {
			start := time.Now()
			if os.Getenv("SALLYPORT_MODEL_FULL") != "" {
				tt.depth = 0
			} else if raced {
				tt.depth = 5
			}
			rep := w.Explore(Rules{}, tt.depth, tt.theorems...)
			if rep.Broken != "" {
				t.Fatalf("%s fails:\n%s", rep.Broken, rep.Trace)
			}
			if tt.depth == 0 && !rep.Complete {
				t.Error("it did not come to an end")
			}
			t.Logf("%d states, %d moves, depth %d, to the end %t, %s", rep.States, rep.Steps, rep.Depth, rep.Complete, time.Since(start).Round(time.Millisecond))
		})
	}
}

// flaws says which theorem kills each broken variant, and in which world.
var flaws = []struct {
	flaw    Flaw
	world   func() *World
	theorem Theorem
}{
	{PromptUntainted, Start, Secrecy},
	{MemoryUntainted, Memory, Secrecy},
	{UnlabelledIsLow, Start, Secrecy},
	{UnknownCleared, Start, Secrecy},
	{ReadUntainted, Mail, Secrecy},
	{ReadKeepsIntegrity, Orders, Trust},
	{ReadIgnoresClearance, Start, Secrecy},
	{ReadIgnoresCeiling, Family, Secrecy},
	{ReadIgnoresEndpoint, Start, Secrecy},
	{TaintAfter, Mail, Secrecy},
	{ResetOnDenial, Mail, Secrecy},
	{ResetOnDenial, Mail, Rising},
	{JoinIsMeet, Mail, Secrecy},
	{IntegrityRises, Orders, Trust},
	{FlowReversed, Mail, Secrecy},
	{CompartmentsIgnored, Compartments, Secrecy},
	{NameGuessed, Family, Secrecy},
	{NameGuessed, Orders, Trust},
	{NameVisible, Mail, Secrecy},
	{CallIgnoresContext, Mail, Secrecy},
	{CallIgnoresArgument, Mail, Secrecy},
	{CallIgnoresTrust, Orders, Trust},
	{CallIgnoresControl, Orders, Trust},
	{UnlistedTrusted, Start, Secrecy},
	{StaleCheck, Decided, Secrecy},
	{ResultWithoutArguments, Mail, Secrecy},
	{ResultWithoutTool, Orders, Trust},
	{ResultWithoutTool, Start, Secrecy},
	{ErrorVisible, Mail, Secrecy},
	{ResultInView, Orders, Trust},
	{WriteAnywhere, Mail, Secrecy},
	{WriteUntrusted, Orders, Trust},
	{SlotFloats, Mail, Secrecy},
	{CreateWithoutReferences, Mail, Secrecy},
	{CreateWithoutContext, Mail, Rising},
	{ChildClean, Family, Secrecy},
	{CeilingBelow, Family, Rising},
	{ChildUncleared, Family, Secrecy},
	{ChildEndpoint, Family, Secrecy},
	{FutureFloats, Family, Secrecy},
	{ReadyVisible, Family, Secrecy},
	{ChildDenialVisible, Family, Secrecy},
	{BudgetFree, Bits, Extraction},
	{ExtractWide, Bits, Extraction},
	{ExtractSigns, Bits, Extraction},
	{ExtractLowers, Purse, Secrecy},
	{BudgetCopied, Bits, Extraction},
	{BudgetKept, Bits, Agreement},
	{BudgetShared, Purse, Secrecy},
	{LowerUnsigned, Release, Secrecy},
	{LowerAnything, Release, Authority},
	{LowerFurther, Release, Authority},
	{GrantReused, Release, Authority},
	{GrantExpired, Release, Authority},
	{GrantRevoked, Release, Authority},
	{QuorumOfKeys, Release, Authority},
	{QuorumOfStrangers, Release, Authority},
	{QuorumWithRequester, Release, Authority},
	{QuorumForForeign, Release, Authority},
	{SelfReset, Family, Secrecy},
	{SelfReset, Family, Rising},
	{ForkAbove, Family, Secrecy},
	{ContentLabel, Mail, Secrecy},
}

// TestFlaws: every broken variant is killed by its theorem alone, and the
// shortest way there is printed.
func TestFlaws(t *testing.T) {
	for _, tt := range flaws {
		t.Run(strings.ReplaceAll(string(tt.flaw), " ", "_"), func(t *testing.T) {
			w := tt.world()
			rep := w.Explore(Rules{Flaw: tt.flaw}, 8, tt.theorem)
			if rep.Broken != tt.theorem {
				t.Fatalf("%s survives in world %s: %d states, depth %d, to the end %t", tt.flaw, w.Name, rep.States, rep.Depth, rep.Complete)
			}
			t.Logf("%s\n%s\n(%d states)", rep.Broken, rep.Trace, rep.States)
		})
	}
}

var delegation = []Flaw{
	DelegateTargets, DelegateUses, DelegateTime, DelegateRevoked, DelegateUncosted, StandingReused, StandingExpired, StandingAnything,
}

// TestEveryFlaw: no broken variant is left out of the tables.
func TestEveryFlaw(t *testing.T) {
	killed := map[string]bool{}
	for _, tt := range flaws {
		killed[string(tt.flaw)] = true
	}
	for _, f := range delegation {
		killed[string(f)] = true
	}
	n := 0
	for _, name := range []string{"flaws.go", "delegate.go"} {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`Flaw += "(.+)"`).FindAllStringSubmatch(string(text), -1) {
			if n++; !killed[m[1]] {
				t.Errorf("nothing kills %q", m[1])
			}
		}
	}
	if n < 60 {
		t.Errorf("%d broken variants only", n)
	}
}

// TestStandings: G1 holds of delegated grants, and each broken variant breaks
// it.
func TestStandings(t *testing.T) {
	states, trace := ExploreStandings(Rules{}, 5)
	if trace != "" {
		t.Fatalf("G1 fails:\n%s", trace)
	}
	t.Logf("%d states", states)
	for _, f := range delegation {
		if _, trace := ExploreStandings(Rules{Flaw: f}, 5); trace == "" {
			t.Errorf("%s survives", f)
		} else {
			t.Logf("%s\n%s", f, trace)
		}
	}
}
