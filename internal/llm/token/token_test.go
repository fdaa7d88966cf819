package token

import (
	"math"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"
)

// samples have the counts that the two vocabularies give.
var samples = []struct {
	name          string
	text          string
	cl100k, o200k int
}{
	{"prose", strings.Repeat("Every effect an agent can have passes one door, and whatever it did leaves evidence that verifies offline. The intent is durable before the effect starts; whoever cannot log cannot act. ", 8), 281, 281},
	{"code", strings.Repeat("func (r *Reader) fill() error {\n\tif r.err != nil {\n\t\treturn r.err\n\t}\n\tn, err := r.src.Read(r.buf[r.w:])\n\tr.w += n\n\treturn err\n}\n", 6), 264, 264},
	{"session", strings.Repeat("root@host:/var/log$ tail -n 2 auth.log\nNov 21 04:12:07 host sshd[2211]: Failed password for invalid user admin from 203.0.113.9 port 51422 ssh2\nNov 21 04:12:09 host sshd[2211]: Connection closed by invalid user admin 203.0.113.9 port 51422 [preauth]\n", 4), 364, 364},
	{"configuration", strings.Repeat("# sshd\nPermitRootLogin prohibit-password\nPasswordAuthentication no\nAllowGroups ops wheel\nMaxAuthTries 3\nSubsystem sftp /usr/lib/openssh/sftp-server\n", 8), 320, 312},
}

func TestErrorIsWithinTheDocumentedBound(t *testing.T) {
	for _, s := range samples {
		got := float64(Estimate(s.text))
		for vocabulary, want := range map[string]int{"cl100k": s.cl100k, "o200k": s.o200k} {
			if d := got/float64(want) - 1; math.Abs(d) > MaxError {
				t.Errorf("%s: %v against %d of %s, %+.0f %%", s.name, got, want, vocabulary, 100*d)
			}
		}
	}
}

func TestEdges(t *testing.T) {
	for in, want := range map[string]int{
		"": 0, " ": 1, "a": 1, "hello world": 2, "\n": 1, "\n\t\t\tx": 2, "123456": 2, "日本": 2, "привет": 3, "\xff\xfe": 2, "a b": 2, "   ": 1,
	} {
		if got := Estimate(in); got != want {
			t.Errorf("%q is %d, want %d", in, got, want)
		}
	}
}

func TestProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		alphabet := rapid.OneOf(rapid.String(), rapid.StringMatching(`[ \n\ta-c0-2.(é日]{0,40}`))
		a := strings.ToValidUTF8(alphabet.Draw(t, "a"), "")
		b := alphabet.Draw(t, "b")
		n, both := Estimate(a), Estimate(a+b)
		if both < n {
			t.Fatalf("%q is %d, but with %q it is %d", a, n, b, both)
		}
		if both > len(a+b) || both == 0 && a+b != "" {
			t.Fatalf("%q is %d tokens in %d bytes", a+b, both, len(a+b))
		}
	})
}

func TestMeter(t *testing.T) {
	var m Meter
	if m.Correct(100) != 100 {
		t.Error("an untaught meter changes the estimate")
	}
	m.Observe(100, 130)
	if got := m.Correct(200); got != 260 {
		t.Errorf("corrected to %d", got)
	}
	for range 20 {
		m.Observe(100, 90)
	}
	if got := m.Correct(100); got != 90 {
		t.Errorf("the old observation still weighs: %d", got)
	}
	m.Observe(100, -1)
	m.Observe(0, 50)
	m.Observe(1, math.MaxInt64)
	if got := m.Correct(100); got != 90 {
		t.Errorf("an impossible figure was used: %d", got)
	}
	var wild Meter
	wild.Observe(1, 1_000_000)
	if got := wild.Correct(10); got != 40 {
		t.Errorf("a wild figure gives %d", got)
	}
	if got := wild.Correct(0); got != 0 {
		t.Errorf("nothing became %d", got)
	}
}

func FuzzEstimate(f *testing.F) {
	f.Add("a b\n\tc")
	f.Fuzz(func(t *testing.T, s string) {
		n := Estimate(s)
		if n > len(s) || n == 0 && s != "" || n != Estimate(s) {
			t.Fatalf("%q is %d", s, n)
		}
		if utf8.ValidString(s) && Estimate(s+"x") < n {
			t.Fatalf("%q counts more than what continues it", s)
		}
	})
}
