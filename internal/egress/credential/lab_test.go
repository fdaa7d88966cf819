package credential

import (
	"bufio"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"sallyport/internal/fault"
)

func sorted(s []string) []string { slices.Sort(s); return s }

func validText(s string) bool { return utf8.ValidString(s) }

// refused checks the kind of an error and that nothing it says holds a value.
func refused(t testing.TB, err error, kind fault.Kind, holds string, values ...string) {
	t.Helper()
	if !fault.Is(err, kind) {
		t.Errorf("got %v, want %s", err, kind)
		return
	}
	if !strings.Contains(fault.PublicText(err), holds) {
		t.Errorf("%q does not say %q", fault.PublicText(err), holds)
	}
	for _, v := range append(values, secret) {
		for name, w := range writings(v, placeholder) {
			if strings.Contains(err.Error(), w[0]) {
				t.Errorf("the error holds the value as %s: %v", name, err)
			}
		}
	}
}

func reading(s string) *bufio.Reader { return bufio.NewReader(strings.NewReader(s)) }
