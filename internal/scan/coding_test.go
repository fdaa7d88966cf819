package scan

import (
	"bytes"
	"encoding/base64"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// slowly decodes base64 one character at a time.
func slowly(run []byte, pos []int32) (text []byte, from []int32) {
	acc, have, first := 0, 0, int32(0)
	for i, c := range run {
		d := digitOf(c, base64Bits)
		if d < 0 {
			if c == '\n' {
				continue
			}
			break
		}
		if have == 0 {
			first = pos[i]
		}
		acc = acc<<base64Bits | d
		if have += base64Bits; have >= 8 {
			have -= 8
			text, from = append(text, byte(acc>>have)), append(from, first)
			acc &= 1<<have - 1
			first = pos[i]
		}
	}
	return text, append(from, pos[len(run)])
}

// TestDecodedPlaces: four characters at a time give the bytes, and the places,
// that one at a time gives, wherever lines and padding break the run.
func TestDecodedPlaces(t *testing.T) {
	s := compile(t, Options{Classes: []string{}}).NewScanner()
	r := rand.New(rand.NewPCG(7, 8))
	for range 300 {
		plain := []byte(strings.Repeat("readable words ", 3+r.IntN(20)))
		run := []byte(base64.StdEncoding.EncodeToString(plain[:len(plain)-r.IntN(4)]))
		for range r.IntN(4) {
			run = slices.Insert(run, 40+r.IntN(len(run)-40), '\n')
		}
		v := view{text: run}
		identity := make([]int32, len(run)+1)
		for i := range identity {
			identity[i] = int32(i)
		}
		for _, pos := range [][]int32{nil, identity} {
			if v.pos = pos; pos != nil {
				for i := range pos { // as in a decoding of a decoding
					pos[i] = 3*pos[i] + 1
				}
			}
			s.reset()
			s.steps = 1 << 30
			s.decoded(&v, 0, len(run), base64Bits, "base64")
			at := identity
			if pos != nil {
				at = pos
			}
			text, from := slowly(run, at)
			if got := s.views[1]; !bytes.Equal(got.text, text) || !slices.Equal(got.pos, from) {
				t.Fatalf("%q: %q at %v, want %q at %v", run, got.text, got.pos, text, from)
			}
		}
	}
}

// TestRunsAnywhere: a run of sixteen letters is looked at wherever it stands.
func TestRunsAnywhere(t *testing.T) {
	e := compile(t, Options{Keywords: seed(), Classes: []string{}})
	coded := base64.StdEncoding.EncodeToString([]byte("rm -rf /srv;"))
	for at := range 64 {
		for _, n := range []int{0, 1, 7, 8, 40} {
			text := strings.Repeat(".", at) + coded + strings.Repeat(".", n)
			if got := rulesOf(e.Scan([]byte(text))); got != "keyword.dangerous" {
				t.Fatalf("at %d of %d: %q", at, len(text), got)
			}
		}
	}
}

// TestNumbersAnywhere: digits are judged wherever they stand.
func TestNumbersAnywhere(t *testing.T) {
	e := compile(t, Options{Classes: []string{"pii"}})
	for at := range 80 {
		for _, n := range []int{0, 1, 40} {
			for text, want := range map[string]string{"078-05-1120": "pii.us-ssn", "4111111111111111": "pii.card", "DE89 3704 0044 0532 0130 00": "pii.iban", "a@b.example": "pii.email"} {
				text = strings.Repeat(".", at) + " " + text + " " + strings.Repeat(".", n)
				if got := rulesOf(e.Scan([]byte(text))); got != want {
					t.Fatalf("%q: %q, want %q", text, got, want)
				}
			}
		}
	}
}
