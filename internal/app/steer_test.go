package app

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"sallyport/internal/action"
	"sallyport/internal/record"
)

// TestOperatorIsThePersonOfTheTrustFile: what the operator does is on record
// under the name that the trust file gives the holder of the key here.
func TestOperatorIsThePersonOfTheTrustFile(t *testing.T) {
	h := newEstate(t)
	if got := h.Operator(t.Context()); got != ownerName() {
		t.Errorf("without a trust file: %q", got)
	}
	bob := h.add(t, "bob", "owner")
	h.change(t, RemovePerson(ownerName()), Signing{Key: bob})
	h.change(t, h.AddPerson("ann", []string{h.file("owner.pub")}, []string{"owner"}, "secret"), Signing{Key: bob})
	if got := h.Operator(t.Context()); got != "ann" {
		t.Errorf("the operator is %q, the key here is ann's", got)
	}
	nowhere, err := Open(t.Context(), Options{Home: filepath.Join(t.TempDir(), "state")})
	if err != nil {
		t.Fatal(err)
	}
	if got := nowhere.Operator(t.Context()); got != ownerName() {
		t.Errorf("where nothing ever ran: %q", got)
	}
	if _, err := os.Stat(nowhere.Paths.Database); err == nil {
		t.Error("asking for the operator's name made a database")
	}
}

// TestGrantsBySomebodysKey: a grant is signed with the key that is named, which
// is an owner's; a row that says more than was signed permits nothing.
func TestGrantsBySomebodysKey(t *testing.T) {
	h := newEstate(t)
	bob, eve := h.add(t, "bob", "owner"), h.add(t, "eve", "finance")
	g := record.Grant{Agent: "chief", Kind: action.Exec, Target: "s*", Expires: time.Now().Add(time.Hour)}
	for who, key := range map[string]string{"eve": eve, "nobody": h.key(t, "nobody", "")} {
		if _, err := h.Grant(t.Context(), g, Signing{Key: key}); err == nil {
			t.Errorf("%s, who is no owner, gave a grant", who)
		}
	}
	given, err := h.Grant(t.Context(), g, Signing{Key: bob})
	if err != nil {
		t.Fatal(err)
	}
	st, err := h.Store(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	people, _, err := h.People(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	counts := func() int {
		t.Helper()
		snap, err := provenLedger{st, people}.Snapshot(t.Context(), record.Scope{Agent: "chief"})
		if err != nil {
			t.Fatal(err)
		}
		return len(snap.Grants)
	}
	if counts() != 1 {
		t.Error("bob's grant does not count")
	}
	sqlOn(t, h.App, `UPDATE grants SET target='*' WHERE id=?`, given.ID)
	if counts() != 0 {
		t.Error("a grant that was widened by hand counts")
	}
	sqlOn(t, h.App, `UPDATE grants SET target='s*' WHERE id=?`, given.ID)
	if counts() != 1 {
		t.Error("the grant as it was signed does not count again")
	}
	h.change(t, RemovePerson("bob"), Signing{})
	sqlOn(t, h.App, `UPDATE grants SET revoked=0`)
	if counts() != 0 {
		t.Error("the grant of somebody who was removed counts")
	}
}
