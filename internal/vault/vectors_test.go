package vault

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"flag"
	"os"
	"testing"

	"sallyport/internal/label"
)

var update = flag.Bool("update", false, "write the vectors anew")

func rawURL(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

type hexed []byte

func (h hexed) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, h), nil }

func (h *hexed) UnmarshalText(b []byte) (err error) {
	*h, err = hex.AppendDecode(nil, b)
	return err
}

// vector is one known answer: everything random in it is given.
type vector struct {
	Root       hexed
	Instance   string
	Generation uint32
	Epoch      uint32
	Oldest     uint32
	StateSeal  hexed // of the state

	KEK        hexed
	WrappedKEK hexed // its nonce is the first 24 bytes

	ID         string
	Label      label.Label
	Version    uint64
	Data       string
	BodyBound  hexed // what the body is bound to
	KeyBound   hexed // what the record key is bound to
	Random     hexed // record key 32, nonce of the key 24, nonce of the body 24
	Key        hexed
	Body       hexed
	Passphrase string
	Salt       hexed
	SealedRoot string
}

// TestVectors: the formats stay what they are, byte for byte, in both
// directions.
func TestVectors(t *testing.T) {
	const file = "testdata/vectors.json"
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var all []vector
	if err := json.Unmarshal(text, &all); err != nil {
		t.Fatal(err)
	}
	for i := range all {
		got := all[i]
		got.compute(t)
		if *update {
			all[i] = got
			continue
		}
		a, _ := json.MarshalIndent(all[i], "", "  ")
		b, _ := json.MarshalIndent(got, "", "  ")
		if !bytes.Equal(a, b) {
			t.Errorf("want\n%s\ngot\n%s", a, b)
		}
		got.open(t)
	}
	if len(all) < 2 {
		t.Errorf("%d vectors", len(all))
	}
	if *update {
		text, err := json.MarshalIndent(all, "", "  ")
		if err == nil {
			err = os.WriteFile(file, append(text, '\n'), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func (x *vector) ref() Ref { return Ref{ID: x.ID, Label: x.Label, Version: x.Version} }

func (x *vector) keyID() KeyID {
	return KeyID{Level: x.Label.Level, Compartments: x.Label.Compartments, Epoch: x.Epoch}
}

func (x *vector) root() Root { k := [keySize]byte(x.Root); return rootOf(&k) }

func (x *vector) compute(t *testing.T) {
	d, err := x.root().derive()
	if err != nil {
		t.Fatal(err)
	}
	x.StateSeal = hexed(d.seal(x.Instance, State{Generation: x.Generation, Epoch: x.Epoch, Oldest: x.Oldest}))
	nonce := bytes.Clone(x.WrappedKEK[:nonceSize])
	x.WrappedKEK = d.wrap.Seal(nonce, nonce[:nonceSize:nonceSize], x.KEK, boundKEK(x.Instance, x.keyID(), x.Generation))
	s := &scratch{random: [keySize + 2*nonceSize]byte(x.Random)}
	kek, err := newAEAD(x.KEK)
	if err != nil {
		t.Fatal(err)
	}
	x.Key = s.wrap(kek, x.Epoch, x.Instance, x.ref())
	x.KeyBound = bytes.Clone(s.bound)
	if x.Body, err = s.seal(x.Instance, x.ref(), []byte(x.Data)); err != nil {
		t.Fatal(err)
	}
	x.BodyBound = bytes.Clone(s.bound)
	sealed, err := sealRoot(x.root(), []byte(x.Passphrase), Floor, x.Salt, x.Random[:nonceSize])
	if err != nil {
		t.Fatal(err)
	}
	x.SealedRoot = string(sealed)
}

// open goes the other way, through a book that holds the vector.
func (x *vector) open(t *testing.T) {
	root, err := OpenRoot([]byte(x.SealedRoot), []byte(x.Passphrase))
	if err != nil {
		t.Fatal(err)
	}
	m := newMemory()
	m.state = State{Generation: x.Generation, Epoch: x.Epoch, Oldest: x.Oldest, Seal: string(x.StateSeal)}
	m.keys[x.keyID()] = Key{SealedKeyID: x.keyID(), Generation: x.Generation, Wrapped: x.WrappedKEK}
	m.items[x.ID] = Item{SealedRef: x.ref(), Epoch: x.Epoch, Key: x.Key, Body: x.Body}
	v, err := Open(t.Context(), Config{Book: m, Instance: x.Instance, Root: root, Check: yes})
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	if got, _, err := v.Get(t.Context(), anybody, x.ID, x.Version); err != nil || string(got) != x.Data {
		t.Errorf("%q, %v", got, err)
	}
}
