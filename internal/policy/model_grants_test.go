package policy_test

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"sallyport/internal/action"
	"sallyport/internal/label"
	"sallyport/internal/principal"
	"sallyport/internal/record"
	"sallyport/test/flowmodel"
)

// command is one that asks the owner: an approval or a grant answers.
func (b *both) command(rt *rapid.T, t *testing.T) {
	name, c, agent := b.pick(rt)
	for _, other := range b.names { // mostly one that must ask
		if b.owner[other] == "manual" && rapid.Bool().Draw(rt, "manual") {
			name, c, agent = other, b.contexts[other], "manual"
		}
	}
	target := uint8(rapid.IntRange(0, 2).Draw(rt, "target"))
	a := action.Action{
		Kind: action.Exec, Target: fmt.Sprint("s", target), Agent: agent, Session: "s", Context: name,
		Principal: principal.ForAgent(agent), Args: map[string]any{"script": "ls"},
	}
	after, denied := b.judge(*c, flowmodel.Tool{Clearance: c.Ceiling, Result: b.settings.Profiles["p"].View}, flowmodel.Args{Refs: label.Bottom, Control: label.Bottom})
	if c.Agent.Unknown {
		denied = "agent.unknown"
	}
	if agent == "manual" && denied == "" {
		grant := len(b.standing.Grants) - 1
		for grant >= 0 && !b.rules.Live(b.standing, int8(grant), target) {
			grant--
		}
		switch {
		case grant >= 0:
			b.rules.Use(b.standing, int8(grant))
			b.counts["grant"]++
		default:
			denied = b.approve(rt, "commandProtection.manual", 1, false)
		}
	}
	b.do(rt, t, a, denied, after)
}

// approve draws who signed the next action, and gives the rule that denies it:
// a quorum of distinct owners, each signature used once and before it expires
// (R8). What a context that read foreign text asks needs one more.
func (b *both) approve(rt *rapid.T, asks string, quorum int, foreign bool) (denied string) {
	people := flowmodel.People{Owner: []uint8{0, 1, 2, 3, 4, 4}, Rights: 0b01111, Quorum: quorum} // 4 is no owner
	g := flowmodel.Grant{Requester: 9}
	if rapid.IntRange(0, 3).Draw(rt, "enough") > 0 {
		g.Signed = uint8(rapid.IntRange(0, 63).Draw(rt, "keys"))
	}
	reused := len(b.nonces) > 0 && rapid.IntRange(0, 5).Draw(rt, "reused") == 0
	g.Expired = rapid.IntRange(0, 5).Draw(rt, "expired") == 0
	var nonces []string
	for key, person := range people.Owner {
		if g.Signed&(1<<key) == 0 {
			continue
		}
		nonce := fmt.Sprintf("n%d-%d-%d", b.round, len(b.nonces), key)
		if reused {
			nonce, g.Used, reused = rapid.SampledFrom(b.nonces).Draw(rt, "nonce"), true, false
		}
		group, expires := "owner", b.now.Add(time.Minute)
		if people.Rights&(1<<person) == 0 {
			group = "strangers"
		}
		if g.Expired {
			expires = b.now
		}
		nonces = append(nonces, nonce)
		b.find = append(b.find, record.Approval{
			Nonce: nonce, Person: fmt.Sprint("p", person), Groups: []string{group}, KeyID: fmt.Sprint(key), Expires: expires,
		})
	}
	live := g
	live.Used, live.Expired = false, false
	if b.rules.Lower(people, live, 0, 0, foreign) != "" {
		return asks
	}
	if b.rules.Lower(people, g, 0, 0, foreign) != "" {
		b.counts["used"]++
		return "approval"
	}
	for _, n := range nonces {
		b.used[n], b.nonces = true, append(b.nonces, n)
	}
	b.counts["approval"]++
	return ""
}

// lower is asked by the operator or by an agent, with signatures or without.
func (b *both) lower(rt *rapid.T, t *testing.T) {
	a, c, item := b.about(rt, action.DataLower)
	to := labels(label.Bottom, modelSays, open).Draw(rt, "to")
	a.Args["from"], a.Args["label"], a.Args["purpose"], a.Args["new"] = item.String(), to.String(), "test", "o-new"
	if rapid.IntRange(0, 3).Draw(rt, "another label") == 0 {
		a.Args["from"] = high.Draw(rt, "from").String()
	}
	exact := a.Arg("from") == item.String()
	had, after, foreign, denied, asks := len(b.refs), label.Label{}, false, "", "R8"
	if b.settings.Quorums != nil {
		asks = "quorum.1"
	}
	if rapid.Bool().Draw(rt, "operator") {
		a.Agent, a.Context, a.Principal = "", "", principal.TheOperator("op")
		if _, ok := b.items[a.Target]; !ok {
			a.Args["from"] = label.Bottom.String() // it names what is not there
			exact = false
		}
	} else {
		_, rule := b.rules.Read(*c, item)
		after, denied, foreign = c.Label, unread(c, rule), c.Label.Integrity == label.Foreign
		exact = exact && to.Integrity != label.Signed
		if foreign {
			asks += ".foreign"
		}
	}
	if denied == "" && !exact {
		denied = "R8.exact"
	}
	if denied == "" {
		denied = b.approve(rt, asks, b.quorum, foreign)
	}
	b.do(rt, t, a, denied, after)
	if denied == "" {
		b.counts["lower"]++
		if len(b.refs) != had+1 || b.items[b.refs[had]] != to {
			rt.Fatalf("lowered to %v, model %s", b.items, to)
		}
	}
}

// give gives a grant, or delegates one.
func (b *both) give(rt *rapid.T, t *testing.T) {
	targets := map[uint8]string{1: "s0", 2: "s1", 7: "s*"}
	g := flowmodel.Standing{
		Parent: int8(rapid.IntRange(-1, len(b.ids)-1).Draw(rt, "parent")), Targets: rapid.SampledFrom([]uint8{1, 2, 7}).Draw(rt, "targets"),
		Uses: rapid.SampledFrom([]int8{1, 1, 2, 2, 3, -1}).Draw(rt, "uses"), Expires: b.standing.Now + int8(rapid.IntRange(1, 4).Draw(rt, "expires")),
	}
	if g.Parent >= 0 && rapid.Bool().Draw(rt, "like its parent") {
		parent := b.standing.Grants[g.Parent]
		g.Targets, g.Uses, g.Expires = parent.Targets, parent.Uses, parent.Expires
	}
	// The engine takes the first by name that covers: the newest here, so that
	// delegated ones are used.
	id := fmt.Sprintf("g%d-%03d", b.round, 999-len(b.ids))
	in := record.Grant{
		ID: id, Agent: "manual", Kind: action.Exec, Target: targets[g.Targets], Uses: int(max(g.Uses, 0)),
		Expires: b.now.Add(time.Duration(g.Expires-b.standing.Now) * time.Minute),
	}
	if g.Uses == 0 {
		g.Uses = 1 // a used up parent: wider than it, whatever is asked for
	}
	allowed := true
	if g.Parent >= 0 {
		in.Parent = b.ids[g.Parent]
		parent := b.standing.Grants[g.Parent]
		allowed = b.rules.Within(g, parent) && parent.Uses != 0
		if allowed {
			b.counts["delegate"]++
		}
	}
	if _, err := b.PutGrant(t.Context(), in, "op"); (err == nil) != allowed {
		rt.Fatalf("grant %+v: %v, model %t", in, err, allowed)
	}
	if allowed {
		b.ids, b.standing.Grants = append(b.ids, id), append(b.standing.Grants, g)
	}
}

func (b *both) revoke(rt *rapid.T, t *testing.T) {
	if len(b.ids) == 0 {
		return
	}
	i := rapid.IntRange(0, len(b.ids)-1).Draw(rt, "grant")
	if err := b.Revoke(t.Context(), b.ids[i], "op"); err != nil {
		rt.Fatal(err)
	}
	b.standing.Grants[i].Revoked = true
}
