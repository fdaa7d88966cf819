package approval

import (
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"sallyport/internal/action"
	"sallyport/internal/record"
)

// TestGiven: a grant counts as long as an owner of now has signed it as it is,
// and all that it was delegated from, whatever the rows say.
func TestGiven(t *testing.T) {
	l := newLab(t, nil)
	give := func(k ssh.Signer, g record.Grant) string {
		t.Helper()
		g.Agent, g.Kind, g.Target, g.Expires = "night", action.Exec, "s*", epoch.Add(time.Hour)
		got, _, err := l.Grant(t.Context(), g, k)
		if err != nil {
			t.Fatal(err)
		}
		return got.ID
	}
	at := func(id string) *record.Grant {
		for i := range l.book.grants {
			if l.book.grants[i].ID == id {
				return &l.book.grants[i]
			}
		}
		t.Fatalf("no grant %s", id)
		return nil
	}
	counts := func(what string, want ...string) {
		t.Helper()
		live, err := l.book.Grants(t.Context(), "night", l.now)
		if err != nil {
			t.Fatal(err)
		}
		got, err := l.Given(t.Context(), live)
		ids := map[string]bool{}
		for _, g := range got {
			ids[g.ID] = true
		}
		if err != nil || len(got) != len(want) {
			t.Fatalf("%s: %v, %v, want %v", what, got, err, want)
		}
		for _, id := range want {
			if !ids[id] {
				t.Errorf("%s: %s does not count", what, id)
			}
		}
	}
	mine, bobs := give(l.owner, record.Grant{Uses: 5}), give(l.bob, record.Grant{})
	child := give(l.owner, record.Grant{Parent: bobs})
	counts("as they were given", mine, bobs, child)
	at(mine).Uses = 2
	counts("after three uses", mine, bobs, child)
	at(mine).Uses = 6
	counts("with more uses than were signed", bobs, child)
	at(mine).Uses = 0
	counts("with uses without end", bobs, child)
	at(mine).Uses = 5
	at(bobs).Target = "*"
	counts("with a wider parent", mine)
	at(bobs).Target = "s*"
	counts("put back", mine, bobs, child)
	byHand, err := l.book.PutGrant(t.Context(), record.Grant{Agent: "night", Kind: action.Exec, Target: "*", Expires: epoch.Add(time.Hour)}, "nobody")
	if err != nil {
		t.Fatal(err)
	}
	counts("with one that nobody signed, "+byHand, mine, bobs, child)
	l.trust.People = l.trust.People[:1] // bob goes
	counts("without bob", mine)
}
