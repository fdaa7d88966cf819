package policy

import (
	"math"
	"strconv"
	"testing"

	"sallyport/internal/action"
	"sallyport/internal/label"
)

func TestAnswers(t *testing.T) {
	for text, want := range map[string]struct {
		bits int
		yes  []string
		no   []string
	}{
		"bool":       {2, []string{"true", "false", "none"}, []string{"", "yes", "True"}},
		"enum:a,b":   {2, []string{"a", "b", "none"}, []string{"c", "a,b", ""}},
		"enum:a,b,c": {2, []string{"c"}, nil}, "enum:a,b,c,d": {3, nil, nil},
		"int:1..10":              {4, []string{"1", "10", "none"}, []string{"0", "11", "01", "+1", "1.0"}},
		"int:-2..0":              {2, []string{"-2", "0"}, []string{"-3", "-0"}},
		"int:0..14":              {4, nil, nil},
		"int:0..15":              {5, nil, nil},
		rangeText(math.MaxInt64): {65, []string{strconv.Itoa(math.MinInt64)}, []string{"9223372036854775808"}},
	} {
		a, err := ParseAnswers(text)
		if err != nil || a.Bits() != want.bits {
			t.Errorf("%s: %d bits, %v, want %d", text, a.Bits(), err, want.bits)
		}
		for _, v := range want.yes {
			if !a.Contains(v) {
				t.Errorf("%s does not contain %q", text, v)
			}
		}
		for _, v := range want.no {
			if a.Contains(v) {
				t.Errorf("%s contains %q", text, v)
			}
		}
	}
	for _, bad := range []string{
		"", "bool:", "text", "enum:", "enum:a", "enum:a,a", "enum:a,none", "enum:a, b", "enum:a,b\n", "enum:a,\u202eb", "int:1", "int:2..1", "int:1..1", "int:01..2", "int:1..x",
		"int:+1..2", "int:-9223372036854775809..0",
	} {
		if _, err := ParseAnswers(bad); err == nil {
			t.Errorf("%q: accepted", bad)
		}
	}
}

func rangeText(hi int64) string {
	return "int:" + strconv.FormatInt(-hi-1, 10) + ".." + strconv.FormatInt(hi, 10)
}

// FuzzAnswers: whatever a schema is, it has at least two answers besides none,
// and its bits can tell them apart.
func FuzzAnswers(f *testing.F) {
	for _, s := range []string{"bool", "enum:a,b,c", "int:-3..99", "int:0..9223372036854775807"} {
		f.Add(s, "a")
	}
	f.Fuzz(func(t *testing.T, text, value string) {
		a, err := ParseAnswers(text)
		if err != nil {
			return
		}
		if a.Bits() < 2 || a.Bits() > 65 || !a.Contains(NoAnswer) {
			t.Fatalf("%q: %d bits", text, a.Bits())
		}
		if n := len(a.choices); n > 0 && 1<<a.Bits() < n+1 {
			t.Fatalf("%q: %d choices in %d bits", text, n, a.Bits())
		}
		if a.Contains(value) && len(value) > maxChoice {
			t.Fatalf("%q is an answer of %q", value, text)
		}
	})
}

// TestUnlabelledIsHigh: what the operator writes without saying a label is as
// high as can be (R0); a version of what is there, or a move, is not new.
func TestUnlabelledIsHigh(t *testing.T) {
	e := engine(t, house())
	for name, tt := range map[string]struct {
		args map[string]any
		want label.Label
	}{
		"new":         {map[string]any{"version": int64(0), "sha256": "00"}, label.Unlabelled},
		"never asked": {map[string]any{"sha256": "00"}, label.Unlabelled},
		"labelled":    {map[string]any{"version": int64(0), "sha256": "00", "label": "public"}, label.Bottom},
		"version":     {map[string]any{"version": int64(3), "sha256": "00"}, label.Bottom},
		"moved":       {map[string]any{"version": int64(0), "from": "plan"}, label.Bottom},
	} {
		q := about("", action.DataWrite, "plan", label.Bottom, label.Bottom, nil)
		tt.args["item"] = "plan"
		q.Action.Args, q.Action.ArgLabels = tt.args, nil
		if d := e.Decide(q); d.ResultLabel != tt.want {
			t.Errorf("%s: %s, want %s (%s)", name, d.ResultLabel, tt.want, d.Because)
		}
	}
}
