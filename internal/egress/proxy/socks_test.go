package proxy

import (
	"io"
	"testing"
)

// TestSOCKS: every way in which a request cannot be served is answered, or
// ends without an answer, and nothing is judged.
func TestSOCKS(t *testing.T) {
	const hello, yes = "\x05\x01\x00", "\x05\x00"
	w := newWorld(t, nil)
	for name, tt := range map[string]struct{ send, want string }{
		"only passwords":    {"\x05\x01\x02", "\x05\xff"},
		"no method":         {"\x05\x00", "\x05\xff"},
		"BIND":              {hello + "\x05\x02\x00\x03\x09good.test\x01\xbb", yes + "\x05\x07\x00\x01\x00\x00\x00\x00\x00\x00"},
		"UDP":               {hello + "\x05\x03\x00\x01\x09\x09\x09\x09\x00\x35", yes + "\x05\x07\x00\x01\x00\x00\x00\x00\x00\x00"},
		"a numeric name":    {hello + "\x05\x01\x00\x03\x060x7f.1\x00\x50", yes + "\x05\x08\x00\x01\x00\x00\x00\x00\x00\x00"},
		"an empty name":     {hello + "\x05\x01\x00\x03\x00\x00\x50", yes + "\x05\x08\x00\x01\x00\x00\x00\x00\x00\x00"},
		"port 0":            {hello + "\x05\x01\x00\x03\x01a\x00\x00", yes + "\x05\x08\x00\x01\x00\x00\x00\x00\x00\x00"},
		"an unknown family": {hello + "\x05\x01\x00\x09", yes + "\x05\x08\x00\x01\x00\x00\x00\x00\x00\x00"},
		"another version":   {hello + "\x04\x01\x00\x01", yes},
		"version 4":         {"\x04\x01\x00\x50\x09\x09\x09\x09\x00", ""},
	} {
		c := w.dial("")
		io.WriteString(c, tt.send)
		got, _ := io.ReadAll(c)
		if string(got) != tt.want {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
	}
	if q := w.judge.questions(); len(q) > 0 {
		t.Errorf("judged %v", q)
	}
}
