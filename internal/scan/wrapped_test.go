package scan

import (
	"encoding/base32"
	"encoding/hex"
	"testing"
)

// TestWordBehindCodedLine: a word in the line behind hex or base32 does not hide
// what they say, and a coding that is broken in lines is still read as one.
func TestWordBehindCodedLine(t *testing.T) {
	e := compile(t, Options{Keywords: seed(), Classes: []string{}})
	hidden := []byte("kill -9 1; and then some more words behind it, to fill a line")
	for _, coded := range []string{hex.EncodeToString(hidden), base32.StdEncoding.EncodeToString(hidden)} {
		late := coded[:64] + "\n" + coded[64:]
		for _, text := range []string{coded, coded + "\nxylophones are next", coded + "\nAND MORE", "see:\n" + late + "\nend", late} {
			if got := rulesOf(e.Scan([]byte(text))); got != "keyword.dangerous" {
				t.Errorf("%q: %q", text, got)
			}
		}
	}
	split := hex.EncodeToString([]byte("thirty-one bytes stand before: kill -9 1; and then"))
	if got := rulesOf(e.Scan([]byte(split[:64] + "\n" + split[64:]))); got != "keyword.dangerous" {
		t.Errorf("in lines: %q", got)
	}
}
