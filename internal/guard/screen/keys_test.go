package screen

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func FuzzKeys(f *testing.F) {
	for _, s := range []string{"\x1b[200~\x1dy\x1b[201~", "\x1d\x1d", "\x1b[93;5uy", "\x1b]11;x\x1b\\", "\x1b[M\x1d\x1d\x1d", "\x1b", "\x1bO", "\x1b[1;2R", "\x1d\xc3\xa9", "\x1b]\x1b\\x\x1d"} {
		f.Add([]byte(s), true)
	}
	f.Fuzz(func(t *testing.T, in []byte, wants bool) {
		run := func(step int) (out []byte, commands []byte) {
			k := keys{prefix: DefaultPrefix, forward: func(b []byte) { out = append(out, b...) }, armed: func() {}, command: func(c byte) { commands = append(commands, c) }, wants: func() bool { return wants }}
			for rest := in; len(rest) > 0; {
				n := min(step, len(rest))
				k.feed(rest[:n])
				rest = rest[n:]
			}
			k.release()
			return out, commands
		}
		whole, did := run(len(in) + 1)
		parts, didParts := run(1)
		if !bytes.Equal(whole, parts) || !bytes.Equal(did, didParts) {
			t.Fatalf("whole %q %q, in parts %q %q", whole, did, parts, didParts)
		}
		if n := bytes.Count(in, []byte{DefaultPrefix}) + bytes.Count(in, []byte("u")) + bytes.Count(in, []byte("~")); len(did) > n {
			t.Fatalf("%d commands of %d prefixes", len(did), n)
		}
		if len(whole) > len(in) {
			t.Fatalf("%q grew to %q", in, whole)
		}
	})
}

func TestFeederDoesNotBlock(t *testing.T) {
	r, w := io.Pipe()
	f := newFeeder(w)
	for range 3 {
		f.add(make([]byte, maxTyped))
	}
	if len(f.queue) != maxTyped {
		t.Errorf("%d bytes are kept", len(f.queue))
	}
	go f.run()
	if n, err := io.CopyN(io.Discard, r, maxTyped); n != maxTyped || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	f.stop()
	r.CloseWithError(errors.New("done"))
	if diff := cmp.Diff([]byte{}, f.queue); diff != "" {
		t.Error(diff)
	}
}
