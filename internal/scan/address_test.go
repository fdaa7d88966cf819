package scan

import (
	"encoding/json"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// argued gives the rules of severity High and above of a call's arguments.
func argued(t *testing.T, e *Engine, args map[string]any) string {
	t.Helper()
	raw, err := json.Marshal(args)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	leaves, _ := e.Arguments(raw)
	for _, l := range leaves {
		for _, f := range l.Result.Findings {
			if f.Severity >= High {
				out = append(out, f.Rule)
			}
		}
	}
	return strings.Join(out, " ")
}

func TestAddress(t *testing.T) {
	e := compile(t, Options{})
	for address, want := range map[string]string{
		// Data in the host, the path, in pieces, behind codings.
		"https://6b657920697320736563726574206f6b.c2.example/":                            "exfil.address",
		"https://mzxw6ytboi3tcmrtgq2tmnzyhe4dknbw.c2.example/":                            "exfil.address",
		"https://a1b2c3d4.e5f6a7b8.c9d0e1f2.a3b4c5d6.c2.example/":                         "exfil.address",
		"https://c2.example/up/Zk3Lq9XvB7tR2mWcY8pNd4Hs/x":                                "exfil.address",
		"https://c2.example/?a=AKIAIOSF&b=ODNN7EXA&c=MPLE":                                "exfil.split",
		"https://c2.example/AKIAIOSF/ODNN7EXAMPLE/x.png":                                  "exfil.split",
		"https://AKIAIOSF.ODNN7EXAMPLE.c2.example/":                                       "exfil.split",
		"https://c2.example/?card=41111111&rest=11111111":                                 "exfil.split",
		"https://c2.example/?q=%25252573%25252565":                                        "exfil.encoded",
		"https://c2.example/?q=%2541KIAIOSFODNN7EXAMPLE":                                  "secret.aws-access-key",
		"https://c2.example/?q=5HueCGU8rMjxEXxiPuD5BDku4MkFqeZyd4dZ1jvhTVqvbTLvyTJ&key=x": "",
		"https://c2.example/?key=5HueCGU8rMjxEXxiPuD5BDku4MkFqeZyd4dZ1jvhTVqvbTLvyTK":     "secret.assigned",
		"https://c2.example/?key=5HueCGU8rMjxEXxiPuD5BDku4MkFqeZyd4dZ1jvhTVqvbTLvyTJ":     "secret.bitcoin-wif",
		// Ways inside.
		"http://2130706433/":                       "exfil.inward",
		"http://0x7f000001/":                       "exfil.inward",
		"http://0177.0.0.1:80/":                    "exfil.inward",
		"http://127.1/":                            "exfil.inward",
		"http://10.0.0.1.nip.io/":                  "exfil.inward",
		"http://169.254.169.254/latest/meta-data/": "exfil.inward",
		"http://[::ffff:127.0.0.1]/":               "exfil.inward",
		"http://user@0x7f.0.0.1/":                  "exfil.inward",
		// Ordinary ones.
		"http://127.0.0.1:8080/x": "",
		"http://localhost:3000/":  "",
		"https://93.184.216.34/":  "",
		"https://api.example.org/v1/items/550e8400-e29b-41d4-a716-446655440000?page=2":                "",
		"https://git.example.org/a/b/commit/d1a1618c0ffee00112233445566778899aabbccd":                 "",
		"https://www.example.org/shop?category=shoes&brand=one&brand=two&colour=black&sort=price_asc": "",
		"https://docs.example.org/en/latest/getting_started/installation-on-linux.html#prerequisites": "",
		"https://cdn.example.org/npm/some-package@1.2.3/dist/some-package.min.js":                     "",
		"https://login.example.org/?next=https%3A%2F%2Fapp.example.org%2Fa%3Fb%3Dc%2526d":             "",
		"https://d111111abcdef8.cloudfront.example/img.png":                                           "",
		"see https://6b657920697320736563726574206f6b.c2.example/ for more":                           "",
	} {
		if got := argued(t, e, map[string]any{"url": address}); got != want {
			t.Errorf("%s: %q, want %q", address, got, want)
		}
	}
}

// TestSeedPhrase: the checksum decides, whatever stands between the words.
func TestSeedPhrase(t *testing.T) {
	e := compile(t, Options{})
	const seed = "legal winner thank year wave sausage worth useful legal winner thank yellow"
	words := strings.Fields(seed)
	if len(seedWords()) != 2048 {
		t.Fatalf("the list has %d words", len(seedWords()))
	}
	for text, want := range map[string]string{
		seed:                                           "call.wallet-seed",
		strings.ToUpper(seed):                          "call.wallet-seed",
		"my words are: " + seed + ".":                  "call.wallet-seed",
		strings.Join(words, "\n"):                      "call.wallet-seed",
		"1. " + strings.Join(words, ", 2. "):           "call.wallet-seed",
		strings.Join(words[:11], " ") + " zoo":         "",
		strings.Join(words[:11], " "):                  "",
		"legal winner " + strings.Join(words[3:], " "): "",
		strings.Replace(seed, "wave", "and wave", 1):   "",
		strings.Repeat("zoo ", 23) + "vote":            "call.wallet-seed",
	} {
		if got := argued(t, e, map[string]any{"content": text}); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
	if got := rulesOf(e.Scan([]byte("The recovery phrase of the wallet:\n" + seed))); got != "secret.wallet-seed" {
		t.Errorf("behind a word for it: %q", got)
	}
	rapid.Check(t, func(t *rapid.T) { // any text, and the seed inside it
		before := rapid.StringMatching(`[a-z ,.]{0,40}`).Draw(t, "before")
		if _, end, ok := seedPhrase([]byte(before + " - " + seed + " xx")); !ok || end <= len(before) {
			t.Fatalf("not found behind %q", before)
		}
	})
}
