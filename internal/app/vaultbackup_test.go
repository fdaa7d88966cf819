package app

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"sallyport/internal/fault"
	"sallyport/internal/vault"
)

// withPassphrase opens an installation whose vault's passphrase lies in a pipe.
func withPassphrase(t *testing.T, home, passphrase string) *App {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.WriteString(passphrase + "\n"); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Dup(int(r.Fd())) // what reads it closes it
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	a, err := Open(t.Context(), Options{Home: home, Create: true, Environ: []string{"HOME=" + home, fmt.Sprintf("%s=%d", passphraseVar, fd)}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = a.Close() })
	return a
}

// TestPassphrase: the root key never lies in the clear; a wrong passphrase is an
// error; what touches no item needs none.
func TestPassphrase(t *testing.T) {
	home := atDesk(t, "vault: {root: passphrase}\n").Paths.Home
	const right = "correct horse battery staple"
	put(t, withPassphrase(t, home, right), "a", "secret", canary)
	if _, err := os.Stat(filepath.Join(home, "keys", rootFile)); err == nil {
		t.Error("a root key lies in the clear")
	}
	if found := append(holding(t, home, []byte(right)), holding(t, home, []byte(canary))...); len(found) > 0 {
		t.Errorf("in the clear in %v", found)
	}
	if data, _, err := withPassphrase(t, home, right).GetItem(t.Context(), "a"); err != nil || string(data) != canary {
		t.Errorf("got %q, %v", data, err)
	}
	if data, _, err := withPassphrase(t, home, right+"!").GetItem(t.Context(), "a"); data != nil || !fault.Is(err, fault.Denied) {
		t.Errorf("with a wrong passphrase: %q, %v", data, err)
	}
	plain := reopened(t, home)
	if list, err := plain.Items(t.Context(), false); err != nil || len(list) != 1 {
		t.Errorf("a list: %v, %v", list, err)
	}
	for _, text := range []string{"2", "x", "999999"} {
		u := newUnlocker(passphraseVar, func(string) (string, bool) { return text, true })
		if _, err := u.passphrase(t.Context(), "", false); !fault.Is(err, fault.Usage) {
			t.Errorf("descriptor %s: %v", text, err)
		}
	}
}

// TestRestoreLeavesNothingHalf: an interrupted or altered restore leaves no
// state directory.
func TestRestoreLeavesNothingHalf(t *testing.T) {
	a := atDesk(t, agency)
	put(t, a, "a", "secret", canary)
	id, to, err := vault.NewIdentity()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "b.age")
	if _, err := a.Backup(t.Context(), file, Secret{Recipients: []string{to}}); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(file)
	if err != nil || bytes.Contains(whole, []byte(canary)) {
		t.Fatalf("the backup: %v", err)
	}
	base := t.TempDir()
	o := Options{Home: filepath.Join(base, "state"), Environ: []string{"HOME=" + base}}
	s := Secret{Identity: []byte(id.Text())}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Restore(ctx, o, file, s); !fault.Is(err, fault.Canceled) {
		t.Errorf("interrupted: %v", err)
	}
	altered := filepath.Join(base, "altered.age")
	for _, at := range []int{len(whole) / 2, len(whole) - 1} {
		b := bytes.Clone(whole)
		b[at] ^= 1
		if err := os.WriteFile(altered, b, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Restore(t.Context(), o, altered, s); !fault.Is(err, fault.Corrupt) {
			t.Errorf("altered at %d: %v", at, err)
		}
	}
	entries, err := os.ReadDir(base)
	if err != nil || len(entries) != 1 { // altered.age
		t.Errorf("left: %v, %v", entries, err)
	}
	if res, err := Restore(t.Context(), o, file, s); err != nil || res.Items != 1 || len(res.Faults) != 0 {
		t.Fatalf("%+v, %v", res, err)
	}
	if data, _, err := reopened(t, o.Home).GetItem(t.Context(), "a"); err != nil || string(data) != canary {
		t.Errorf("got %q, %v", data, err)
	}
}

// FuzzUnpack: whoever makes an archive cannot write outside of the directory it
// is unpacked to, whatever its names and links say.
func FuzzUnpack(f *testing.F) {
	for _, entries := range [][]tar.Header{
		{{Typeflag: tar.TypeReg, Name: "home/../../outside"}},
		{{Typeflag: tar.TypeSymlink, Name: "home/l", Linkname: ".."}, {Typeflag: tar.TypeReg, Name: "home/l/outside"}},
		{{Typeflag: tar.TypeSymlink, Name: "home/l", Linkname: "/"}, {Typeflag: tar.TypeDir, Name: "home/l/outside"}},
		{{Typeflag: tar.TypeLink, Name: "home/h", Linkname: "/etc/passwd"}},
		{{Typeflag: tar.TypeChar, Name: "home/null", Devmajor: 1, Devminor: 3}},
	} {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		for _, h := range entries {
			h.Mode = 0o777
			if err := w.WriteHeader(&h); err != nil {
				f.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			f.Fatal(err)
		}
		f.Add(b.Bytes())
	}
	f.Fuzz(func(t *testing.T, archive []byte) {
		base := t.TempDir()
		dir := filepath.Join(base, "in")
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if _, err := unpack(t.Context(), bytes.NewReader(archive), dir); err == nil {
			t.Log("unpacked")
		}
		entries, err := os.ReadDir(base)
		if err != nil || len(entries) != 1 {
			t.Fatalf("outside: %v, %v", entries, err)
		}
		err = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
			if err == nil && !e.Type().IsRegular() && !e.IsDir() && e.Type() != fs.ModeSymlink {
				t.Errorf("%s is %v", path, e.Type())
			}
			return err
		})
		if err != nil {
			t.Log(err) // a directory that was made unreadable
		}
	})
}
