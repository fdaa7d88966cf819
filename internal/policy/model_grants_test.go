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
			denied = b.approve(rt, "commandProtection.manual")
		}
	}
	b.do(rt, t, a, denied, after)
}

// approve draws whether the next action has an approval, and gives the rule
// that denies it: an approval counts once and until it expires (R8, with a
// quorum of one owner).
func (b *both) approve(rt *rapid.T, asks string) (denied string) {
	nonce := fmt.Sprintf("n%d-%d", b.round, len(b.nonces))
	expired := false
	group, signed := "owner", true
	switch rapid.IntRange(0, 5).Draw(rt, "approval") {
	case 0:
		signed = false
	case 1:
		if len(b.nonces) > 0 {
			nonce = rapid.SampledFrom(b.nonces).Draw(rt, "nonce")
		}
	case 2:
		expired = true
	case 3:
		group = "strangers"
	}
	g := flowmodel.Grant{Used: b.used[nonce], Expired: expired, Requester: 9}
	people := flowmodel.People{Owner: []uint8{0, 1}, Rights: 1, Quorum: 1}
	if signed {
		g.Signed = 1
		if group != "owner" {
			g.Signed = 2
		}
		expires := b.now.Add(time.Minute)
		if expired {
			expires = b.now
		}
		b.find = []record.Approval{{Nonce: nonce, Person: "op", Groups: []string{group}, KeyID: "k", Expires: expires}}
	}
	switch b.rules.Lower(people, g, 0, 0, false) {
	case "":
		b.used[nonce], b.nonces = true, append(b.nonces, nonce)
		b.counts["approval"]++
		return ""
	case "R8 ended":
		b.counts["used"]++
		if group != "owner" {
			return asks
		}
		return "approval"
	}
	return asks
}

// lower is the operator's, with a signature or without.
func (b *both) lower(rt *rapid.T, t *testing.T) {
	from, to := high.Draw(rt, "from"), low.Draw(rt, "to")
	a := action.Action{
		Kind: action.DataLower, Target: "item/0", Session: "s", Principal: principal.TheOperator("op"),
		Args: map[string]any{
			"item": "item/0", "version": int64(1), "from": from.String(), "label": to.String(), "purpose": "test", "new": "item/1",
		},
		ArgLabels: map[string]label.Label{"item": from},
	}
	b.do(rt, t, a, b.approve(rt, "R8"), label.Label{})
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
