package scan

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"testing"
)

// TestNamed: what stands behind a word for a secret, whatever the vendor.
func TestNamed(t *testing.T) {
	e := compile(t, Options{Classes: []string{"secret"}})
	for text, want := range map[string]bool{
		"acmecorp SECRET=kq7vPz2mWd9xRt4b":                         true,
		"acmecorp_token: \"zqxjwvkmnbtrpldfghcs\"":                 true,
		"ACME ACCESS KEY 9f2c4b7e1a8d3c6f":                         true,
		"acmecorpapikey=9f2c4b7e1a8d3c6f":                          true,
		"acme private key\n9f2c4b7e1a8d3c6f0a1b2c3d":               true,
		"acmeAccessToken = 'Kp9-vX2qLm7_RtZ4w'":                    true,
		"{\"acme_key\": \"1234abcd-56ef-78ab-90cd-1234567890zz\"}": true,
		"api_key=acme:kq7vPz2mWd9xRt4b":                            true,
		"key=12345678901234567890123":                              true,
		"keyid=9f2c4b7e1a8d3c6f":                                   false, // at an even place and at an odd one
		" keyid=9f2c4b7e1a8d3c6f":                                  false,
		// Names, words, numbers and what is no value.
		"token = authenticationTokenProvider":                                false,
		"secretKey := privateKeyFromPEMBlock":                                false,
		"key: sha256WithRSAEncryption":                                       false,
		"private_key = loadKey9f2c4b7e1a8d(path)":                            false,
		"monkey=kq7vPz2mWd9xRt4b":                                            false,
		"keyboard kq7vPz2mWd9xRt4b":                                          false,
		"KEY_WOW64_64KEY = 0x0100deadbeef01":                                 false,
		"token <your-token-goes-in-here-12>":                                 false,
		"api_key = \"xxxxxxxxxxxx12345678\"":                                 false,
		"the access to the harbour was closed all winter":                    false,
		"-----BEGIN PUBLIC KEY-----\nMIICIjANBgkqhkiG9w0B":                   false,
		"key\n\n\n9f2c4b7e1a8d3c6f0a1b2c3d":                                  false,
		"token:                                            kq7vPz2mWd9xRt4b": false,
	} {
		if got := len(e.Scan([]byte(text)).Findings) > 0; got != want {
			t.Errorf("%q: found %v, want %v", text, got, want)
		}
	}
	for _, r := range e.Rules() {
		if r.ID == "secret.named" && r.Block {
			t.Error("a rule that goes by words may block")
		}
	}
}

// TestPrivateKeys: keys as tools write them, as they stand and inside JSON.
func TestPrivateKeys(t *testing.T) {
	e := compile(t, Options{Classes: []string{"secret"}})
	long, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	curve, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	_, edwards, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	sec1, err := x509.MarshalECPrivateKey(curve)
	if err != nil {
		t.Fatal(err)
	}
	blocks := map[string][]byte{"RSA PRIVATE KEY": x509.MarshalPKCS1PrivateKey(long), "EC PRIVATE KEY": sec1}
	if blocks["PRIVATE KEY"], err = x509.MarshalPKCS8PrivateKey(edwards); err != nil {
		t.Fatal(err)
	}
	for kind, der := range blocks {
		text := pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
		quoted, err := json.Marshal(string(text))
		if err != nil {
			t.Fatal(err)
		}
		for _, form := range [][]byte{text, append([]byte("key: "), text...), quoted} {
			if got := rulesOf(e.Scan(form)); got != "secret.private-key" {
				t.Errorf("%s: %q in %.60q", kind, got, form)
			}
		}
	}
	public, err := x509.MarshalPKIXPublicKey(&long.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	if got := rulesOf(e.Scan(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public}))); got != "" {
		t.Errorf("a public key: %q", got)
	}
}
