//go:build unix

package vault

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/chacha20poly1305"

	"sallyport/internal/fault"
)

func same(a, b Root) (same bool) {
	a.use(func(x *[keySize]byte) { b.use(func(y *[keySize]byte) { same = *x == *y }) })
	return same
}

func TestRootFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "root")
	r, err := CreateRootFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if back, err := ReadRootFile(path); err != nil || !same(r, back) {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	before, _ := os.ReadFile(path)
	_, err = CreateRootFile(path)
	wantKind(t, "creating it twice", err, fault.Conflict)
	if after, _ := os.ReadFile(path); !bytes.Equal(before, after) {
		t.Error("the only key was overwritten")
	}
	_, err = CreateRootFile(filepath.Join(path, "x"))
	wantKind(t, "below a file", err, fault.Config)
	refused := func(what string, kind fault.Kind, spoil func(path string) error) {
		t.Helper()
		path := filepath.Join(t.TempDir(), "spoiled")
		if err := spoil(path); err != nil {
			t.Fatal(err)
		}
		_, err := ReadRootFile(path)
		wantKind(t, what, err, kind)
	}
	write := func(b []byte, mode os.FileMode) func(string) error {
		return func(path string) error { return errors.Join(os.WriteFile(path, b, mode), os.Chmod(path, mode)) }
	}
	refused("none", fault.NotFound, func(string) error { return nil })
	refused("read by the group", fault.Config, write(before, 0o640))
	refused("read by others", fault.Config, write(before, 0o604))
	refused("a link", fault.Config, func(link string) error { return os.Symlink(path, link) })
	refused("a directory", fault.Config, func(path string) error { return os.Mkdir(path, 0o700) })
	refused("a pipe", fault.Config, func(path string) error { return syscall.Mkfifo(path, 0o600) })
	refused("empty", fault.Config, write(nil, 0o600))
	refused("cut", fault.Config, write(before[:len(before)-2], 0o600))
	refused("longer", fault.Config, write(append(bytes.Clone(before), 'x'), 0o600))
	refused("much longer", fault.Config, write(bytes.Repeat(before, 100), 0o600))
	refused("lax base64", fault.Config, write(bytes.Replace(before, []byte("key "), []byte("key \n"), 1), 0o600))
}

func TestPassphrase(t *testing.T) {
	r, pass := NewRoot(), []byte("correct horse battery")
	sealed, err := SealRoot(r, pass, Floor)
	if err != nil {
		t.Fatal(err)
	}
	if back, err := OpenRoot(sealed, pass); err != nil || !same(r, back) {
		t.Fatal(err)
	}
	_, err = OpenRoot(sealed, []byte("correct horse batterz"))
	wantKind(t, "a wrong passphrase", err, fault.Denied)
	again, _ := SealRoot(r, pass, Floor)
	if bytes.Equal(again, sealed) {
		t.Error("no fresh salt")
	}
	for what, change := range map[string]string{"m=65536": "m=65537", "p=4": "p=3"} {
		_, err := OpenRoot([]byte(strings.Replace(string(sealed), what, change, 1)), pass)
		wantKind(t, "another cost than it was sealed with", err, fault.Denied)
	}
	text := strings.TrimSuffix(string(sealed), "\n")
	for _, bad := range []string{
		"", "x", text + " x", text[:len(text)-1], " " + text, strings.Replace(text, "=65536", "=065536", 1), strings.Replace(text, "=65536", "=+65536", 1),
		strings.Replace(text, "t=3", "t=4294967299", 1), strings.Replace(text, "argon2id", "argon2i", 1), strings.Replace(text, " t=3 p=4", " p=4 t=3", 1),
		// Below the floor, above the ceiling: refused before anything is derived.
		strings.Replace(text, "=65536", "=65535", 1), strings.Replace(text, "t=3", "t=2", 1), strings.Replace(text, "p=4", "p=0", 1),
		strings.Replace(text, "=65536", "=4294967295", 1), strings.Replace(text, "t=3", "t=65", 1), strings.Replace(text, "p=4", "p=17", 1),
		strings.Repeat(text+"\n", 100), text + "\n\n", text[:len(text)-20] + "\n" + text[len(text)-20:],
	} {
		start := time.Now()
		_, err := OpenRoot([]byte(bad), pass)
		wantKind(t, bad, err, fault.Config)
		if err != nil && (strings.Contains(err.Error(), text[40:]) || time.Since(start) > time.Minute) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	_, err = SealRoot(r, []byte("elevenchars"), Floor)
	wantKind(t, "a short passphrase", err, fault.Usage)
	_, err = SealRoot(r, pass, Cost{Memory: 1024, Time: 3, Lanes: 4})
	wantKind(t, "a cheap cost", err, fault.Config)
	_, err = SealRoot(Root{}, pass, Floor)
	wantKind(t, "no key", err, fault.Usage)
}

func TestCalibrate(t *testing.T) {
	for each, want := range map[time.Duration]uint32{
		time.Second: 3, 200 * time.Millisecond: 3, 100 * time.Millisecond: 5, 90 * time.Millisecond: 6, time.Millisecond: 64, 0: 64,
	} {
		c := calibrate(500*time.Millisecond, func(c Cost) time.Duration { return each * time.Duration(c.Time) })
		if c.Time != want || c.check() != nil {
			t.Errorf("%v for a pass: %v", each, c)
		}
	}
	if c := Calibrate(time.Nanosecond); c != Floor {
		t.Errorf("got %v", c)
	}
}

// TestWipe: after wiping, a cipher works with the zero key, a root key with none.
func TestWipe(t *testing.T) {
	key := bytes.Repeat([]byte{7}, keySize)
	aead, _ := newAEAD(key)
	zero, _ := newAEAD(make([]byte, keySize))
	nonce := make([]byte, nonceSize)
	want := zero.Seal(nil, nonce, plainText, nil)
	if bytes.Equal(aead.Seal(nil, nonce, plainText, nil), want) {
		t.Fatal("the test proves nothing")
	}
	wipeAEAD(aead)
	if !bytes.Equal(aead.Seal(nil, nonce, plainText, nil), want) {
		t.Error("the key of a cipher is still there: does the library keep it elsewhere now?")
	}
	other, _ := chacha20poly1305.New(key)
	wipeAEAD(nil)
	wipeAEAD(struct{ chacha20poly1305Like }{other}) // left alone
	v, m, root := made(t)
	put(t, v, "a", low, plainText)
	kek, d := v.ring.keks[KeyID{Level: low.Level, Compartments: low.Compartments, Epoch: 1}], v.ring.root
	var kept *recordKey
	err := v.broker.release(t.Context(), Request{}, m.items["a"], func(k *recordKey) error {
		if *k == (recordKey{}) {
			t.Error("no key")
		}
		kept = k
		return errors.New("stop")
	})
	if err == nil || *kept != (recordKey{}) {
		t.Errorf("the record key outlives its release: %v", err)
	}
	v.Close()
	for _, a := range []interface {
		Seal(dst, nonce, plaintext, additionalData []byte) []byte
	}{kek, d.wrap} {
		if !bytes.Equal(a.Seal(nil, nonce, plainText, nil), want) {
			t.Error("Close leaves a key")
		}
	}
	if d.mac != [keySize]byte{} {
		t.Error("Close leaves the key of seals")
	}
	_, _, err = v.Get(t.Context(), anybody, "a", 0)
	wantKind(t, "a closed vault", err, fault.Unavailable)
	root.Wipe()
	root.use(func(k *[keySize]byte) {
		if *k != [keySize]byte{} {
			t.Error("a wiped root key is still there")
		}
	})
}

type chacha20poly1305Like interface {
	NonceSize() int
	Overhead() int
	Seal(dst, nonce, plaintext, additionalData []byte) []byte
	Open(dst, nonce, ciphertext, additionalData []byte) ([]byte, error)
}

// forms are the ways a key could show in a text.
func forms(key []byte) []string {
	return []string{
		string(key), hex.EncodeToString(key), strings.ToUpper(hex.EncodeToString(key)), base64.StdEncoding.EncodeToString(key)[:40],
		base64.RawURLEncoding.EncodeToString(key)[:40], strings.Trim(fmt.Sprintf("%d", key), "[]"), strings.Trim(fmt.Sprintf("%#v", key), "[]byte{}"),
	}
}

// TestNothingPrintsKeys prints everything that can hold a key in every way, and
// every error of a vault under attack.
func TestNothingPrintsKeys(t *testing.T) {
	v, m, root := made(t)
	identity, _, err := NewIdentity()
	if err != nil {
		t.Fatal(err)
	}
	put(t, v, "a", low, plainText)
	var out bytes.Buffer
	for _, x := range []any{root, &root, identity, &identity, struct {
		Root     Root
		Identity Identity
	}{root, identity}, []Root{root}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%T", "%p", "%b", "%z"} {
			fmt.Fprintf(&out, verb+"\n", x)
		}
		j, _ := json.Marshal(x)
		out.Write(j)
		slog.New(slog.NewTextHandler(&out, nil)).Info("x", "root", x)
		slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "root", x)
	}
	for _, spoil := range []func(*Item){
		func(it *Item) { it.Key = it.Key[1:] }, func(it *Item) { it.Body = flip(it.Body, 30, 1) }, func(it *Item) { it.Label = high },
	} {
		it := cloned(m.items["a"])
		spoil(&it)
		m.items["a"] = it
		_, _, err := v.Get(t.Context(), anybody, "a", 0)
		fmt.Fprintf(&out, "%v\n%+v\n%#v\n", err, err, err)
	}
	_, err = Open(t.Context(), Config{Book: m, Instance: instance, Root: NewRoot(), Check: yes})
	fmt.Fprintf(&out, "%v\n%+v\n%#v\n", err, err, err)
	_, err = ParseIdentity([]byte(identity.Text() + "x"))
	fmt.Fprintf(&out, "%v\n%#v\n", err, err)
	_, err = parseRoot(append(root.text(), 'x'))
	fmt.Fprintf(&out, "%v\n%#v\n", err, err)
	said := out.String()
	root.use(func(k *[keySize]byte) {
		for _, form := range forms(k[:]) {
			if strings.Contains(said, form) {
				t.Errorf("the root key shows as %q", form)
			}
		}
	})
	for _, secret := range []string{identity.Text()[16:60], string(plainText)} {
		if strings.Contains(said, secret) {
			t.Errorf("%q shows", secret)
		}
	}
	if !strings.Contains(said, redacted) || !strings.Contains(said, redactedIdentity) || strings.Count(said, "does not open") < 3 {
		t.Errorf("the test did not print what it should:\n%s", said)
	}
}

func TestReplacements(t *testing.T) {
	env := map[string]string{"SECRET_KEY": "hunter2hunter2", "SALT_VALUE": "", "PATH": "/bin"}
	lookup := func(name string) (string, bool) { v, ok := env[name]; return v, ok }
	got := Replacements(lookup)
	if len(got) != 2 || got[0].Setting != "SECRET_KEY" || got[1].Setting != "SALT_VALUE" {
		t.Fatal(got)
	}
	for _, r := range got {
		if !strings.HasPrefix(r.Answer, r.Setting+" is not used") || strings.Contains(r.Answer, "hunter2") || strings.Contains(r.Answer, "\n") {
			t.Error(r.Answer)
		}
	}
	if got := Replacements(func(string) (string, bool) { return "", false }); got != nil {
		t.Error(got)
	}
}
