package cli

import "testing"

func TestTokens(t *testing.T) {
	for n, want := range map[int64]string{0: "0", 999_999: "999999", 1_000_000: "1.0M", 123_456_789: "123.5M", 2e9: "2.0G", 7e12: "7.0T"} {
		if got := tokens(n); got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
}
