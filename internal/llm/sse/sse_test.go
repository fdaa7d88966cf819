package sse

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// pieces returns at most n bytes per Read.
type pieces struct {
	b []byte
	n int
}

func (p *pieces) Read(b []byte) (int, error) {
	if len(p.b) == 0 {
		return 0, io.EOF
	}
	n := copy(b, p.b[:min(p.n, len(p.b))])
	p.b = p.b[n:]
	return n, nil
}

type seen struct{ Name, ID, Data string }

func all(t testing.TB, src io.Reader, lim Limits) ([]seen, error) {
	t.Helper()
	r := NewReader(src, lim)
	var out []seen
	for {
		ev, err := r.Next()
		if err != nil {
			return out, err
		}
		out = append(out, seen{ev.Name, ev.ID, string(ev.Data)})
	}
}

func TestEventsInAnyFragmentation(t *testing.T) {
	tests := []struct {
		name, in string
		want     []seen
		err      error
	}{
		{"simple", "data: a\n\ndata: b\n\n", []seen{{"", "", "a"}, {"", "", "b"}}, io.EOF},
		{"crlf", "event: x\r\ndata: a\r\n\r\ndata: b\r\n\r\n", []seen{{"x", "", "a"}, {"", "", "b"}}, io.EOF},
		{"lone cr", "data: a\rdata: b\r\rdata: c\r\r", []seen{{"", "", "a\nb"}, {"", "", "c"}}, io.EOF},
		{"mixed ends", "data: a\r\n\ndata: b\n\r\n", []seen{{"", "", "a"}, {"", "", "b"}}, io.EOF},
		{"several data lines", "data: a\ndata:\ndata:  b\n\n", []seen{{"", "", "a\n\n b"}}, io.EOF},
		{"comment and unknown field", ": ping\n\nretry: 3\nfoo: x\ndata: a\n\n", []seen{{"", "", "a"}}, io.EOF},
		{"id and NUL id", "id: 7\ndata: a\n\nid: 7\x00\ndata: b\n\n", []seen{{"", "7", "a"}, {"", "", "b"}}, io.EOF},
		{"byte order mark", "\xef\xbb\xbfdata: a\n\n", []seen{{"", "", "a"}}, io.EOF},
		{"name without data", "event: ping\n\n", []seen{{"ping", "", ""}}, io.EOF},
		{"no closing blank line", "data: a\n", []seen{{"", "", "a"}}, io.EOF},
		{"cut inside a line", "data: a\n\ndata: {\"x", []seen{{"", "", "a"}}, io.ErrUnexpectedEOF},
		{"empty", "", nil, io.EOF},
		{"no colon", "data\n\n", []seen{{"", "", ""}}, io.EOF},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, n := range []int{1, 2, 3, 7, 4096} {
				got, err := all(t, &pieces{[]byte(tt.in), n}, Limits{})
				if !errors.Is(err, tt.err) {
					t.Fatalf("pieces of %d: error %v, want %v", n, err, tt.err)
				}
				if d := cmp.Diff(tt.want, got); d != "" {
					t.Fatalf("pieces of %d: (-want +got)\n%s", n, d)
				}
			}
		})
	}
}

func TestBounds(t *testing.T) {
	long := strings.Repeat("x", 9000)
	for name, tt := range map[string]struct {
		in   string
		lim  Limits
		want string
	}{
		"line":           {"data: " + long + "\n\n", Limits{Line: 8000}, "a line exceeds 8000 bytes"},
		"line, no end":   {"data: " + long, Limits{Line: 8000}, "a line exceeds 8000 bytes"},
		"event":          {strings.Repeat("data: "+strings.Repeat("y", 50)+"\n", 100), Limits{Event: 1000}, "an event exceeds 1000 bytes"},
		"total":          {strings.Repeat("data: a\n\n", 9000), Limits{Total: 5000}, "the stream exceeds 5000 bytes"},
		"total comments": {strings.Repeat(":\n", 9000), Limits{Total: 5000}, "the stream exceeds 5000 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := all(t, strings.NewReader(tt.in), tt.lim)
			if !errors.Is(err, ErrTooLarge) || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("error %v, want %q", err, tt.want)
			}
		})
	}
}

type idle struct{}

func (idle) Read([]byte) (int, error) { return 0, nil }

func TestSourceWithoutProgress(t *testing.T) {
	if _, err := all(t, idle{}, Limits{}); !errors.Is(err, io.ErrNoProgress) {
		t.Fatalf("error %v", err)
	}
}

func FuzzReader(f *testing.F) {
	f.Add([]byte("event: a\r\ndata: b\r\n\r\n"), 1)
	f.Add([]byte("\xef\xbb\xbf: c\rdata:x\r\rdata:y"), 2)
	f.Fuzz(func(t *testing.T, in []byte, n int) {
		if n < 1 || n > 5000 {
			n = 1
		}
		lim := Limits{Line: 200, Event: 400, Total: 4000}
		whole, err1 := all(t, bytes.NewReader(in), lim)
		split, err2 := all(t, &pieces{in, n}, lim)
		if (err1 == nil) != (err2 == nil) {
			t.Fatalf("whole: %v, split: %v", err1, err2)
		}
		// Only where the bound on the total bites may a fragmentation show
		// fewer events: one read can already hold more than is allowed.
		if len(in) <= 4000 {
			if d := cmp.Diff(whole, split); d != "" {
				t.Fatalf("fragmentation changes events:\n%s", d)
			}
		}
		for _, e := range whole {
			if len(e.Data) > 400 || strings.ContainsRune(e.Name, '\n') {
				t.Fatalf("bad event %q", e)
			}
		}
	})
}
