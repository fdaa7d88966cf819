package app

import (
	"bytes"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sallyport/internal/action"
	"sallyport/internal/fault"
	"sallyport/internal/label"
)

const canary = "CANARY-7f3a91c2-do-not-leak"

// wrappedKey gives the wrapped record key of an item and the beginning of its
// sealed body.
func wrappedKey(t *testing.T, a *App, id string) (key, body []byte) {
	t.Helper()
	st, err := a.Store(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	row, err := st.Vault().Item(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return row.Key[5:], row.Body[1:40]
}

// TestErasureLeavesNothing: an item that the operator read, an agent read in a
// context above what is stored in the clear, and that was moved and relabelled,
// is in no file once it was erased, nor is what opens it. Old proofs hold.
func TestErasureLeavesNothing(t *testing.T) {
	a := atDesk(t, agency)
	ctx, home := t.Context(), a.Paths.Home
	put(t, a, "plan", "confidential", canary)
	oldKey, _ := wrappedKey(t, a, "plan")
	if _, _, err := a.GetItem(ctx, "plan"); err != nil {
		t.Fatal(err)
	}
	b := benchOf(t, a, nil)
	fork(t, b, "chief", "x", label.New(label.Confidential, label.Member, 0), label.New(label.Secret, label.Foreign, 2))
	if res, err := agentRead(t, b, "chief", "x", "plan", "yes"); err != nil || res.Output != canary {
		t.Fatalf("the chief read %q, %v", res.Output, err)
	}
	if _, err := a.MoveItem(ctx, "plan", "moved"); err != nil {
		t.Fatal(err)
	}
	if _, err := a.LabelItem(ctx, "moved", "secret", "", "", nil); err != nil {
		t.Fatal(err)
	}
	key, body := wrappedKey(t, a, "moved")
	if len(holding(t, home, key)) == 0 || len(holding(t, home, body)) == 0 {
		t.Fatal("the scan does not find what is there: this test proves nothing")
	}
	if found := holding(t, home, oldKey); len(found) > 0 {
		t.Errorf("the key of the version before is in %v", found)
	}
	sum := sha256.Sum256([]byte(canary))
	hash := []byte(hex.EncodeToString(sum[:]))
	export := exportLog(t, a)

	if _, err := a.HoldItem(ctx, "moved", true); err != nil {
		t.Fatal(err)
	}
	if err := a.EraseItem(ctx, "moved", "", yes); !fault.Is(err, fault.Denied) || len(holding(t, home, key)) == 0 {
		t.Errorf("a held item was erased: %v", err)
	}
	if _, err := a.HoldItem(ctx, "moved", false); err != nil {
		t.Fatal(err)
	}
	if err := a.EraseItem(ctx, "moved", "", nil); !fault.Is(err, fault.Denied) {
		t.Errorf("erased without a signature: %v", err)
	}
	if err := a.EraseItem(ctx, "moved", "", yes); err != nil {
		t.Fatal(err)
	}
	for what, needle := range map[string][]byte{
		"the plaintext": []byte(canary), "the wrapped key": key, "the sealed body": body, "the first key": oldKey, "the hash": hash,
	} {
		if found := holding(t, home, needle); len(found) > 0 {
			t.Errorf("%s is still in %v", what, found)
		}
	}
	if _, _, err := a.GetItem(ctx, "moved"); !fault.Is(err, fault.NotFound) {
		t.Errorf("it is still there: %v", err)
	}
	if res, err := VerifyExport(VerifyOptions{Export: export}); err != nil || !res.OK {
		t.Errorf("the export of before: %+v, %v", res, err)
	}
	if res, err := a.VerifyLog(ctx, VerifyOptions{}); err != nil || !res.OK {
		t.Errorf("the log: %+v, %v", res, err)
	}
	refusedByHold(t, a)
}

// refusedByHold looks for the refusal in the record.
func refusedByHold(t *testing.T, a *App) {
	t.Helper()
	logged := false
	_, err := a.Events(t.Context(), EventFilter{Types: []string{"data.erase.error"}}, func(e Event) error {
		logged = logged || bytes.Contains(e.Data, []byte("legal hold"))
		return nil
	})
	if err != nil || !logged {
		t.Errorf("the refusal of a held item is not on record: %v", err)
	}
}

func exportLog(t *testing.T, a *App) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "log.export")
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.ExportLog(t.Context(), f, true); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return file
}

// sqlOn runs a statement in the database like somebody who can write the file.
func sqlOn(t *testing.T, a *App, query string, args ...any) {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+a.Paths.Database+"?_pragma=busy_timeout(5000)")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.ExecContext(t.Context(), query, args...); err != nil {
		t.Fatal(err)
	}
}

// TestRowsThatWereTamperedWith: whoever writes to the database relabels,
// exchanges or puts back rows; nothing opens, and nothing is answered empty.
func TestRowsThatWereTamperedWith(t *testing.T) {
	secret := label.New(label.Secret, label.Member, 0).String()
	public := label.New(label.Public, label.Member, 0).String()
	for name, tt := range map[string]struct {
		before string // kept as it was then, by the statement
		attack []string
	}{
		"the object's label": {"", []string{`UPDATE objects SET label='` + public + `' WHERE id='a'`}},
		"both labels":        {"", []string{`UPDATE objects SET label='` + public + `' WHERE id='a'`, `UPDATE sealed_items SET label='` + public + `' WHERE id='a'`}},
		"another's envelope": {"", []string{`UPDATE sealed_items SET (key, body) = (SELECT key, body FROM sealed_items WHERE id='b') WHERE id='a'`}},
		"another's place": {"", []string{
			`UPDATE sealed_items SET id='c' WHERE id='a'`, `UPDATE sealed_items SET id='a' WHERE id='b'`,
			`UPDATE objects SET label='` + public + `' WHERE id='a'`,
		}},
		"the sealed row put back": {`CREATE TABLE kept AS SELECT * FROM sealed_items WHERE id='a'`, []string{
			`DELETE FROM sealed_items WHERE id='a'`, `INSERT INTO sealed_items SELECT * FROM kept`,
		}},
		"everything put back": {`CREATE TABLE kept AS SELECT * FROM sealed_items WHERE id='a'; CREATE TABLE keptobjects AS SELECT * FROM objects WHERE id='a'`, []string{
			`DELETE FROM sealed_items WHERE id='a'`, `INSERT INTO sealed_items SELECT * FROM kept`,
			`DELETE FROM objects WHERE id='a'`, `INSERT INTO objects SELECT * FROM keptobjects`,
		}},
		"gone": {"", []string{`DELETE FROM sealed_items WHERE id='a'`}},
	} {
		t.Run(name, func(t *testing.T) {
			a := atDesk(t, agency)
			put(t, a, "a", "confidential", "first")
			put(t, a, "b", "public", "other")
			if tt.before != "" {
				sqlOn(t, a, tt.before)
			}
			put(t, a, "a", "", canary)
			if it, err := a.LabelItem(t.Context(), "a", "secret", "", "", nil); err != nil || !strings.HasPrefix(secret, it.Label) {
				t.Fatalf("%+v, %v", it, err)
			}
			if data, _, err := a.GetItem(t.Context(), "a"); err != nil || string(data) != canary {
				t.Fatalf("before the attack: %q, %v", data, err)
			}
			for _, q := range tt.attack {
				sqlOn(t, a, q)
			}
			again := reopened(t, a.Paths.Home)
			data, _, err := again.GetItem(t.Context(), "a")
			if data != nil || !fault.Is(err, fault.Corrupt) {
				t.Errorf("got %q, %v", data, err)
			}
			if _, faults, err := again.CheckItems(t.Context()); err != nil || len(faults) == 0 {
				t.Errorf("the check found nothing: %v", err)
			}
			b := benchOf(t, again, nil)
			fork(t, b, "scout", "y", member, label.Label{})
			if res, err := agentRead(t, b, "scout", "y", "a", "yes"); err == nil || res.Output != "" {
				t.Errorf("the scout read %q, %v", res.Output, err)
			}
		})
	}
}

// TestErasedItemPutBack: rows of an erased item that come back from an old copy
// do not open, although their keys still would.
func TestErasedItemPutBack(t *testing.T) {
	a := atDesk(t, agency)
	put(t, a, "a", "confidential", canary)
	sqlOn(t, a, `CREATE TABLE kept AS SELECT * FROM sealed_items; CREATE TABLE keptobjects AS SELECT * FROM objects`)
	if err := a.EraseItem(t.Context(), "a", "", yes); err != nil {
		t.Fatal(err)
	}
	sqlOn(t, a, `INSERT INTO sealed_items SELECT * FROM kept; INSERT INTO objects SELECT * FROM keptobjects`)
	if data, _, err := reopened(t, a.Paths.Home).GetItem(t.Context(), "a"); data != nil || !fault.Is(err, fault.Corrupt) {
		t.Errorf("got %q, %v", data, err)
	}
}

// TestWrongKeys: a wrong root key, and rows of another instance, are errors,
// never empty data.
func TestWrongKeys(t *testing.T) {
	a := atDesk(t, agency)
	put(t, a, "a", "confidential", canary)
	other := atDesk(t, agency)
	put(t, other, "a", "confidential", "theirs")
	theirs, err := os.ReadFile(filepath.Join(other.Paths.Keys, rootFile))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(a.Paths.Keys, rootFile)
	if err := os.WriteFile(path, theirs, 0o600); err != nil {
		t.Fatal(err)
	}
	if data, _, err := reopened(t, a.Paths.Home).GetItem(t.Context(), "a"); data != nil || !fault.Is(err, fault.Denied) {
		t.Errorf("with another's root key: %q, %v", data, err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if data, _, err := reopened(t, a.Paths.Home).GetItem(t.Context(), "a"); data != nil || !fault.Is(err, fault.NotFound) {
		t.Errorf("without a root key: %q, %v", data, err)
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("a new root key was made although items need the old one")
	}
}

// TestBodyIsWhatWasDecided: content that is not what the action names is not
// stored.
func TestBodyIsWhatWasDecided(t *testing.T) {
	a := atDesk(t, agency)
	b := benchOf(t, a, nil)
	act := action.Action{Kind: action.DataWrite, Target: "a", Body: []byte("evil"), Args: map[string]any{
		"item": "a", "label": member.String(), "bytes": int64(4), "sha256": strings.Repeat("0", 64),
	}}
	if _, err := b.do(t.Context(), act); !fault.Is(err, fault.Denied) {
		t.Errorf("another content: %v", err)
	}
	act.Args["bytes"] = int64(5)
	if _, err := b.do(t.Context(), act); !fault.Is(err, fault.Denied) {
		t.Errorf("another size: %v", err)
	}
	if list, err := a.Items(t.Context(), true); err != nil || len(list) != 0 {
		t.Errorf("stored %v, %v", list, err)
	}
}
