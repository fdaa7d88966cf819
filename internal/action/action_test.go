package action

import (
	"bytes"
	"encoding/json"
	"math"
	"strings"
	"testing"

	"github.com/gowebpki/jcs"
	"pgregory.net/rapid"

	"sallyport/internal/label"
)

func genValue(depth int) *rapid.Generator[any] {
	return rapid.Custom(func(t *rapid.T) any {
		n := 6
		if depth == 0 {
			n = 4
		}
		switch rapid.IntRange(0, n).Draw(t, "kind") {
		case 0:
			return rapid.Bool().Draw(t, "b")
		case 1:
			return rapid.Int64Range(-maxExact, maxExact).Draw(t, "i")
		case 2:
			return rapid.Float64().Filter(func(f float64) bool { return !math.IsNaN(f) && !math.IsInf(f, 0) }).Draw(t, "f")
		case 3:
			return rapid.String().Draw(t, "s")
		case 4:
			return nil
		case 5:
			return rapid.SliceOfN(genValue(depth-1), 0, 4).Draw(t, "l")
		default:
			return rapid.MapOfN(rapid.String(), genValue(depth-1), 0, 4).Draw(t, "m")
		}
	})
}

// TestCanonicalAgrees holds our canonical form against an independent
// implementation of RFC 8785.
func TestCanonicalAgrees(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := map[string]any{"v": genValue(3).Draw(t, "v")}
		got, err := Canonical(v)
		if err != nil {
			t.Fatal(err)
		}
		plain, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		want, err := jcs.Transform(plain)
		if err != nil {
			t.Skip("the reference refuses it")
		}
		if !bytes.Equal(got, want) {
			t.Fatalf("got  %s\nwant %s", got, want)
		}
	})
}

func TestCanonicalRefuses(t *testing.T) {
	deep := any("x")
	for range maxDepth + 2 {
		deep = []any{deep}
	}
	for name, v := range map[string]any{
		"big integer": int64(maxExact + 1), "small integer": int64(-maxExact - 1), "nan": math.NaN(),
		"infinity": math.Inf(1), "utf-8": "a\xff", "key": map[string]any{"\xff": 1}, "type": struct{}{}, "depth": deep,
	} {
		if b, err := Canonical(v); err == nil {
			t.Errorf("%s: accepted as %s", name, b)
		}
	}
}

func TestParseObject(t *testing.T) {
	for in, ok := range map[string]bool{
		`{}`:                             true,
		`{"a":[1,2.5,"x",null,true,{}]}`: true,
		`{"a":1,"a":1}`:                  false,
		`{"a":{"b":1,"b":2}}`:            false,
		`{"a":9007199254740993}`:         false,
		`{"a":1e400}`:                    false,
		`{"a":1e30}`:                     false,
		`{"a":"\ud800"}`:                 false,
		`{"a":1} x`:                      false,
		`[1]`:                            false,
		`{"a":1`:                         false,
		"{\"a\":\"\xff\"}":               false,
		``:                               false,
	} {
		if _, err := ParseObject([]byte(in)); (err == nil) != ok {
			t.Errorf("%s: error %v, want ok %v", in, err, ok)
		}
	}
}

func FuzzParseObject(f *testing.F) {
	for _, s := range []string{`{"a":1}`, `{"a":[{"b":-0.5e-3}]}`, `{"\u00e9":"é"}`, `{"a":1,"a":2}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := ParseObject(data)
		if err != nil {
			return
		}
		c, err := Canonical(m)
		if err != nil {
			t.Fatalf("parsed but not canonical: %v", err)
		}
		again, err := ParseObject(c)
		if err != nil {
			t.Fatalf("canonical form does not parse: %v", err)
		}
		c2, err := Canonical(again)
		if err != nil || !bytes.Equal(c, c2) {
			t.Fatalf("canonical form is not a fixed point: %s, %s, %v", c, c2, err)
		}
	})
}

func TestDigestBindsEveryField(t *testing.T) {
	base := func() Action {
		return Action{
			Kind: Exec, Target: "s1", Agent: "sarah", Schema: "x",
			Args:      map[string]any{"script": "ls", "n": int64(1)},
			ArgLabels: map[string]label.Label{"script": {Level: label.Internal}},
		}
	}
	ctx := label.New(label.Internal, label.Foreign, 0)
	want, err := base().Digest(ctx, "p")
	if err != nil {
		t.Fatal(err)
	}
	changes := map[string]func(*Action){
		"kind": func(a *Action) { a.Kind = FileRead }, "target": func(a *Action) { a.Target = "s2" },
		"agent": func(a *Action) { a.Agent = "bob" }, "schema": func(a *Action) { a.Schema = "y" },
		"arg": func(a *Action) { a.Args["script"] = "ls " }, "type": func(a *Action) { a.Args["n"] = "1" },
		"new arg":   func(a *Action) { a.Args["m"] = nil },
		"arg label": func(a *Action) { a.ArgLabels["script"] = label.Unlabelled },
	}
	for name, change := range changes {
		a := base()
		change(&a)
		if got, err := a.Digest(ctx, "p"); err != nil || got == want {
			t.Errorf("%s: digest did not change (%v)", name, err)
		}
	}
	if got, _ := base().Digest(label.Unlabelled, "p"); got == want {
		t.Error("context label: digest did not change")
	}
	if got, _ := base().Digest(ctx, "q"); got == want {
		t.Error("policy set: digest did not change")
	}
	if again, _ := base().Digest(ctx, "p"); again != want {
		t.Error("digest is not deterministic")
	}
	if d, err := ParseDigest(want.String()); err != nil || d != want {
		t.Error("digest text does not round-trip")
	}
}

func TestKindsAreUnique(t *testing.T) {
	seen := map[Kind]bool{}
	for _, r := range Kinds() {
		if seen[r.Kind] || !strings.Contains(string(r.Kind)+".", ".") || r.Target == "" {
			t.Errorf("row %q is a duplicate or incomplete", r.Kind)
		}
		seen[r.Kind] = true
	}
	if _, ok := RowOf("nonsense"); ok {
		t.Error("an unknown kind has a row")
	}
}
