package store_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"database/sql"
	"fmt"
	"io"
	mrand "math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sallyport/internal/fault"
	"sallyport/internal/label"
	"sallyport/internal/record"
	"sallyport/internal/store"
)

// found tells which files of the database hold any 16 bytes in a row of data.
func found(t testing.TB, dir string, data []byte) []string {
	t.Helper()
	var out []string
	for _, name := range []string{"state.db", "state.db-wal", "state.db-shm"} {
		raw, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i+16 <= len(data); i += 16 {
			if bytes.Contains(raw, data[i:i+16]) {
				out = append(out, name)
				break
			}
		}
	}
	return out
}

func random(n int) []byte {
	b := make([]byte, n)
	_, _ = io.ReadFull(rand.Reader, b)
	return b
}

// sealed makes a row of the size that the vault makes for a body.
func sealed(id string, version uint64, epoch uint32, body int) record.SealedItem {
	return record.SealedItem{
		SealedRef: record.SealedRef{ID: id, Label: label.New(label.Secret, label.Member, 3), Version: version},
		Epoch:     epoch, Key: random(76), Body: random(body),
	}
}

var firstState = record.SealedState{Generation: 1, Epoch: 1, Oldest: 1, Seal: string(bytes.Repeat([]byte{7}, 32))}

func newBook(t testing.TB, dir string) *store.Book {
	t.Helper()
	b := open(t, dir).Vault()
	if err := b.SetState(t.Context(), record.SealedState{}, firstState, nil); err != nil {
		t.Fatal(err)
	}
	return b
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestDestroyedLeavesNothing looks for keys and bodies in the raw files, before
// they are destroyed in each of the ways there are, and afterwards.
func TestDestroyedLeavesNothing(t *testing.T) {
	ctx := t.Context()
	key := record.SealedKey{SealedKeyID: record.SealedKeyID{Level: label.Secret, Compartments: 3, Epoch: 1}, Generation: 1, Wrapped: random(72)}
	rotated := firstState
	rotated.Epoch = 2
	for name, tt := range map[string]func(b *store.Book, it record.SealedItem) (gone [][]byte, err error){
		"erase": func(b *store.Book, it record.SealedItem) ([][]byte, error) {
			return [][]byte{it.Key, it.Body}, b.Erase(ctx, it.ID, 1)
		},
		"another version": func(b *store.Book, it record.SealedItem) ([][]byte, error) {
			return [][]byte{it.Key, it.Body}, b.PutItem(ctx, sealed(it.ID, 2, 1, len(it.Body)))
		},
		"a smaller version": func(b *store.Book, it record.SealedItem) ([][]byte, error) {
			return [][]byte{it.Key, it.Body}, b.PutItem(ctx, sealed(it.ID, 2, 1, 16))
		},
		"rewrapping": func(b *store.Book, it record.SealedItem) ([][]byte, error) {
			must(t, b.SetState(ctx, firstState, rotated, nil))
			return [][]byte{it.Key}, b.Rewrap(ctx, it.ID, 1, 1, 2, random(76))
		},
		"retiring": func(b *store.Book, it record.SealedItem) ([][]byte, error) {
			must(t, b.Erase(ctx, it.ID, 1))
			next := rotated
			next.Oldest = 2
			return [][]byte{key.Wrapped}, b.SetState(ctx, firstState, next, nil)
		},
		"another root key": func(b *store.Book, _ record.SealedItem) ([][]byte, error) {
			next := firstState
			next.Generation = 2
			again := key
			again.Generation, again.Wrapped = 2, random(72)
			return [][]byte{key.Wrapped}, b.SetState(ctx, firstState, next, []record.SealedKey{again})
		},
	} {
		for _, size := range []int{0, 100, 3000, 20_000} {
			t.Run(fmt.Sprint(name, size), func(t *testing.T) {
				dir := t.TempDir()
				b := newBook(t, dir)
				must(t, b.AddKey(ctx, key))
				it := sealed("it", 1, 1, size)
				must(t, b.PutItem(ctx, it))
				for _, data := range [][]byte{it.Key, key.Wrapped} {
					if len(found(t, dir, data)) == 0 {
						t.Fatal("what was stored is not found: this test would see nothing")
					}
				}
				gone, err := tt(b, it)
				must(t, err)
				for _, data := range gone {
					if where := found(t, dir, data); where != nil {
						t.Errorf("left in %v", where)
					}
				}
			})
		}
	}
}

// TestNoStrayCopies destroys items of many sizes among others: the database
// moves rows about, and no copy of one may stay behind.
func TestNoStrayCopies(t *testing.T) {
	dir := t.TempDir()
	b := newBook(t, dir)
	rnd := mrand.New(mrand.NewPCG(1, 2))
	live := map[string]record.SealedItem{}
	var gone []record.SealedItem
	for i := range 400 {
		id := fmt.Sprintf("%x", rnd.Uint64())
		it := sealed(id, 1, 1, 1+rnd.IntN(1<<rnd.IntN(14)))
		must(t, b.PutItem(t.Context(), it))
		live[id] = it
		if i%3 == 0 {
			for id, old := range live {
				gone = append(gone, old)
				if rnd.IntN(2) == 0 {
					it := sealed(id, old.Version+1, 1, 1+rnd.IntN(1<<rnd.IntN(14)))
					must(t, b.PutItem(t.Context(), it))
					live[id] = it
				} else {
					must(t, b.Erase(t.Context(), id, old.Version))
					delete(live, id)
				}
				break
			}
		}
	}
	left := 0
	for _, it := range gone {
		if found(t, dir, it.Key) != nil || found(t, dir, it.Body) != nil {
			left++
		}
	}
	if left > 0 {
		t.Errorf("of %d destroyed items %d left bytes behind", len(gone), left)
	}
	for id, want := range live {
		got, err := b.Item(t.Context(), id)
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Fatal(diff, err)
		}
	}
}

// held erases an item while somebody reads, and gives its key and how to end
// the reading. The reader's connection stays, so that nobody is the last one,
// who would empty the log when he leaves.
func held(t *testing.T, dir string, b *store.Book) (key []byte, release func()) {
	t.Helper()
	it := sealed("it", 1, 1, 500)
	must(t, b.PutItem(t.Context(), it))
	db, err := sql.Open("sqlite", filepath.Join(dir, "state.db"))
	must(t, err)
	t.Cleanup(func() { _ = db.Close() })
	db.SetMaxOpenConns(1)
	reader, err := db.BeginTx(context.Background(), &sql.TxOptions{ReadOnly: true})
	must(t, err)
	var n int
	must(t, reader.QueryRowContext(t.Context(), `SELECT count(*) FROM sealed_items`).Scan(&n))
	err = b.Erase(t.Context(), "it", 1)
	wantKind(t, err, fault.Unavailable, "a reader holds")
	if _, err := b.Item(t.Context(), "it"); !fault.Is(err, fault.NotFound) {
		t.Errorf("the row is still there: %v", err)
	}
	if found(t, dir, it.Key) == nil {
		t.Error("the bytes are gone already: this test shows nothing")
	}
	return it.Key, func() { must(t, reader.Rollback()) }
}

// TestReaderHoldsErasure: while somebody reads, the bytes cannot leave the log;
// they do as soon as he has finished.
func TestReaderHoldsErasure(t *testing.T) {
	dir := t.TempDir()
	key, release := held(t, dir, newBook(t, dir))
	release()
	for found(t, dir, key) != nil { // the test's time limit ends it
		runtime.Gosched()
	}
}

// TestErasureLeftBehind: a process that ends before the log is empty leaves that
// to the next one.
func TestErasureLeftBehind(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	must(t, s.Vault().SetState(t.Context(), record.SealedState{}, firstState, nil))
	key, release := held(t, dir, s.Vault())
	must(t, s.Close())
	next := open(t, dir) // while he still reads
	if found(t, dir, key) == nil {
		t.Error("the bytes are gone already: this test shows nothing")
	}
	must(t, next.Close())
	release()
	open(t, dir)
	if where := found(t, dir, key); where != nil {
		t.Errorf("left in %v", where)
	}
}
