package auth

import (
	"strings"
	"testing"
)

func TestToken(t *testing.T) {
	seen := map[string]bool{}
	for range 100 {
		token, hash := NewToken()
		if !WellFormed(token) || len(token) != len(Prefix)+randomChars+checkChars || hash != Hash(token) || seen[token] {
			t.Fatalf("token %q", token)
		}
		seen[token] = true
		for i := range token { // any single wrong character is noticed
			c := byte('a')
			if token[i] == c {
				c = 'b'
			}
			if WellFormed(token[:i] + string(c) + token[i+1:]) {
				t.Errorf("character %d may be wrong", i)
			}
		}
	}
	for _, bad := range []string{"", Prefix, "sk-ant-x", Prefix + strings.Repeat("a", randomChars+checkChars), strings.Repeat("a", 1<<20)} {
		if WellFormed(bad) {
			t.Errorf("%.20q is well formed", bad)
		}
	}
}
