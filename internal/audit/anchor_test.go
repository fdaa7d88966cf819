package audit

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"sallyport/internal/fault"
)

func signer(t testing.TB) *Signer {
	t.Helper()
	s, err := OpenKeys(filepath.Join(t.TempDir(), "keys"), "inst")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func signed(t testing.TB, s *Signer, size int64) []byte {
	t.Helper()
	b, err := s.Sign(size, Hash{byte(size)})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestKeys(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "keys")
	s, err := OpenKeys(dir, "inst")
	if err != nil {
		t.Fatal(err)
	}
	again, err := OpenKeys(dir, "inst")
	if err != nil || again.Verifier() != s.Verifier() {
		t.Fatal(err)
	}
	key, pub := filepath.Join(dir, KeyFile), filepath.Join(dir, VerifierFile)
	if info, err := os.Stat(key); err != nil || info.Mode().Perm() != 0o600 {
		t.Fatal(info.Mode(), err)
	}
	if _, err := OpenKeys(dir, "other"); !fault.Is(err, fault.Corrupt) {
		t.Errorf("another instance: %v", err)
	}
	if err := os.Remove(pub); err != nil { // killed between the two files
		t.Fatal(err)
	}
	if again, err := OpenKeys(dir, "inst"); err != nil || again.Verifier() != s.Verifier() {
		t.Errorf("without the public half: %v", err)
	}
	if err := os.Chmod(key, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenKeys(dir, "inst"); !fault.Is(err, fault.Config) {
		t.Errorf("readable by others: %v", err)
	}
	if err := os.Remove(key); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenKeys(dir, "inst"); !fault.Is(err, fault.Corrupt) {
		t.Errorf("without the private half: %v", err)
	}
	secret := "PRIVATE+KEY+inst+00000000+AAAA"
	if err := os.WriteFile(key, []byte(secret), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenKeys(dir, "inst"); err == nil || strings.Contains(err.Error(), "AAAA") {
		t.Errorf("damaged: %v", err)
	}
}

func TestCheckpointForms(t *testing.T) {
	s, other := signer(t), signer(t)
	good := signed(t, s, 7)
	if c, err := OpenCheckpoint(good, s.Verifier()); err != nil || c.Size != 7 || c.Root != (Hash{7}) {
		t.Fatal(c, err)
	}
	if _, err := OpenCheckpoint(good, other.Verifier()); err == nil {
		t.Error("another key's signature passes")
	}
	for i := range len(good) * 8 {
		bad := bytes.Clone(good)
		bad[i/8] ^= 1 << (i % 8)
		if _, err := OpenCheckpoint(bad, s.Verifier()); err == nil {
			t.Fatalf("bit %d can be flipped", i)
		}
	}
	if _, err := OpenCheckpoint(append(bytes.Clone(good), good[bytes.Index(good, []byte("— ")):]...), s.Verifier()); err == nil {
		t.Error("a doubled signature passes")
	}
}

func FuzzOpenCheckpoint(f *testing.F) {
	s, err := OpenKeys(filepath.Join(f.TempDir(), "keys"), "inst")
	if err != nil {
		f.Fatal(err)
	}
	good, err := s.Sign(3, Hash{1})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Fuzz(func(t *testing.T, data []byte) {
		if _, err := OpenCheckpoint(data, s.Verifier()); err == nil && !bytes.Equal(data, good) {
			t.Fatalf("forged: %q", data)
		}
	})
}

func FuzzVerify(f *testing.F) {
	s, err := OpenKeys(filepath.Join(f.TempDir(), "keys"), "inst")
	if err != nil {
		f.Fatal(err)
	}
	var b bytes.Buffer
	if err := Export(context.Background(), &b, memory{s, 3}, s, true); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := Verify(bytes.NewReader(data), VerifyOptions{Verifier: s.Verifier()})
		if err == nil && r.Size > 3 {
			t.Fatalf("forged: %q", data)
		}
	})
}

// memory is a log of n entries that is made while it is read.
type memory struct {
	s *Signer
	n int64
}

func (m memory) Checkpoints(ctx context.Context, fn func(int64, []byte) error) error {
	var peaks []Hash
	err := m.Entries(ctx, m.n, false, func(seq int64, leaf, _ []byte, _ map[string][2][]byte) (err error) {
		_, peaks, err = Grow(seq, peaks, leaf)
		return err
	})
	if err != nil {
		return err
	}
	b, err := m.s.Sign(m.n, Root(peaks))
	if err != nil {
		return err
	}
	return fn(m.n, b)
}

func (m memory) Entries(_ context.Context, _ int64, values bool, fn func(int64, []byte, []byte, map[string][2][]byte) error) error {
	salt, value := make([]byte, SaltSize), []byte(`["t","x","","","c","info","{}"]`)
	var peaks []Hash
	for seq := range m.n {
		leaf, err := m.s.Leaf(seq, time.UnixMicro(1e15+seq), "event", "", "", "", "", nil, map[string][32]byte{"row": Commit("row", salt, value)})
		if err != nil {
			return err
		}
		stored, next, err := Grow(seq, peaks, leaf)
		if err != nil {
			return err
		}
		peaks = next
		var opened map[string][2][]byte
		if values {
			opened = map[string][2][]byte{"row": {salt, value}}
		}
		if err := fn(seq, leaf, stored[0][:], opened); err != nil {
			return err
		}
	}
	return nil
}

// TestChunks verifies an export that is longer than one chunk.
func TestChunks(t *testing.T) {
	s := signer(t)
	var b bytes.Buffer
	if err := Export(t.Context(), &b, memory{s, 3000}, s, true); err != nil {
		t.Fatal(err)
	}
	if b.Len() < 3*chunkSize {
		t.Fatal("too short to test anything")
	}
	r, err := Verify(bytes.NewReader(b.Bytes()), VerifyOptions{})
	if err != nil || r.Size != 3000 || r.Opened != 3000 || r.Pinned {
		t.Fatalf("%+v %v", r, err)
	}
	lines := bytes.SplitAfter(b.Bytes(), []byte("\n"))
	gone := bytes.Join(append(append([][]byte{}, lines[:3001]...), lines[3003:]...), nil)
	r, err = Verify(bytes.NewReader(gone), VerifyOptions{})
	if err == nil || r.Bad.From != 1500 || r.Bad.Line != 3002 {
		t.Fatalf("%+v %v", r.Bad, err)
	}
}

func TestFileAndGitAnchor(t *testing.T) {
	s := signer(t)
	file := filepath.Join(t.TempDir(), "anchor")
	dir := t.TempDir()
	env := []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "GIT_CONFIG_NOSYSTEM=1"}
	anchors := []Anchor{FileAnchor{file}}
	files := []string{file}
	if git, err := exec.LookPath("git"); err == nil {
		cmd := exec.Command(git, "init", "--quiet", dir)
		cmd.Env = env
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v %s", err, out)
		}
		hook := filepath.Join(dir, ".git", "hooks", "pre-commit")
		if err := os.MkdirAll(filepath.Dir(hook), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(hook, []byte("#!/bin/sh\nexit 1\n"), 0o700); err != nil {
			t.Fatal(err)
		}
		anchors, files = append(anchors, GitAnchor{Dir: dir, Env: env}), append(files, filepath.Join(dir, gitFile))
	} else {
		t.Log("SKIPPED LOUDLY: git is not installed: the git anchor is not tested")
	}
	for i, a := range anchors {
		var want [][]byte
		for size := range int64(3) {
			want = append(want, signed(t, s, size))
			if err := a.Push(t.Context(), want[size]); err != nil {
				t.Fatal(a.Name(), err)
			}
		}
		data, err := os.ReadFile(files[i])
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, ReadAnchors(data)); d != "" {
			t.Errorf("%s: %s", a.Name(), d)
		}
		if torn := ReadAnchors(data[:len(data)-5]); len(torn) != 2 {
			t.Errorf("%s: a torn tail gives %d", a.Name(), len(torn))
		}
	}
	if err := (FileAnchor{filepath.Join(dir, "no", "such")}).Push(t.Context(), nil); !fault.Is(err, fault.Unavailable) {
		t.Error(err)
	}
}

func TestWebhookAnchor(t *testing.T) {
	var got []byte
	code := http.StatusNoContent
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = make([]byte, r.ContentLength)
		_, _ = r.Body.Read(got)
		w.WriteHeader(code)
	}))
	defer srv.Close()
	a := WebhookAnchor{URL: srv.URL + "/p?token=fake", Client: srv.Client()}
	if err := a.Push(t.Context(), []byte("checkpoint")); err != nil || string(got) != "checkpoint" {
		t.Fatal(err, string(got))
	}
	code = http.StatusForbidden
	if err := a.Push(t.Context(), []byte("x")); !fault.Is(err, fault.Unavailable) || strings.Contains(err.Error(), "fake") {
		t.Fatal(err)
	}
	if n := (WebhookAnchor{URL: "https://u:pw@h.example/p?token=fake"}).Name(); n != "webhook:https://h.example/p" {
		t.Error(n)
	}
}

type scripted struct {
	errs []error
	got  []int64
}

func (s *scripted) Name() string { return "scripted" }

func (s *scripted) Push(_ context.Context, c []byte) error {
	s.got = append(s.got, int64(c[0]))
	if len(s.errs) == 0 {
		return nil
	}
	err := s.errs[0]
	s.errs = s.errs[1:]
	return err
}

func TestPusher(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &scripted{errs: []error{nil, errors.New("down"), errors.New("down")}}
		type push struct {
			size    int64
			failed  bool
			changed bool
		}
		var got []push
		p := NewPusher([]Anchor{a}, time.Minute, func(_ context.Context, _ string, size int64, err error, changed bool) {
			got = append(got, push{size, err != nil, changed})
		})
		for size := int64(1); size <= 4; size++ {
			p.Offer(size, []byte{byte(size)})
			synctest.Wait()
		}
		time.Sleep(time.Hour) // pushed 1; then 4, retried until it arrives
		synctest.Wait()
		p.Offer(5, []byte{5})
		p.Offer(6, []byte{6})
		if err := p.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		want := []push{{1, false, false}, {4, true, true}, {4, true, false}, {4, false, true}}
		if d := cmp.Diff(want, got[:min(4, len(got))], cmp.AllowUnexported(push{})); d != "" {
			t.Error(d)
		}
		if last := a.got[len(a.got)-1]; last != 6 {
			t.Errorf("the newest checkpoint did not arrive: %v", a.got)
		}
	})
}
