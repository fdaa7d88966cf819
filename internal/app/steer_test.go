package app

import (
	"os"
	"path/filepath"
	"testing"
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
