package flowmodel

import (
	"fmt"
	"slices"
)

// Standing is a grant for any number of uses: Uses negative is no limit. It may
// be delegated to a narrower one. Parent is the index of the grant it comes
// from, negative for the first.
type Standing struct {
	Parent  int8
	Targets uint8 // what it is for, one bit each
	Uses    int8
	Expires int8
	Revoked bool
}

// Standings are all grants, each after the one it comes from, and the time.
type Standings struct {
	Grants []Standing
	Now    int8
}

// The broken variants of delegation: each is killed by G1.
const (
	DelegateTargets  Flaw = "R8: a delegated grant is for more than its parent"
	DelegateUses     Flaw = "R8: a delegated grant has more uses than its parent"
	DelegateTime     Flaw = "R8: a delegated grant outlives its parent"
	DelegateRevoked  Flaw = "R8: a delegated grant outlives the revocation of its parent"
	DelegateUncosted Flaw = "R8: a use of a delegated grant does not count for its parent"
	StandingReused   Flaw = "R8: a used up standing grant is used"
	StandingExpired  Flaw = "R8: an expired standing grant is used"
	StandingAnything Flaw = "R8: a standing grant is used for something else"
)

// Within says whether a grant may be delegated from its parent.
func (k Rules) Within(g, parent Standing) bool {
	fewer := parent.Uses < 0 || g.Uses >= 0 && g.Uses <= parent.Uses
	return (g.Targets&^parent.Targets == 0 || k.has(DelegateTargets)) &&
		(fewer || k.has(DelegateUses)) && (g.Expires <= parent.Expires || k.has(DelegateTime)) && !parent.Revoked
}

// Live says whether a grant can be used for a target: it, and all that it comes
// from, cover the target, have a use left, are not revoked and not expired. A
// flaw of delegation is one here too, where parents are looked at again.
func (k Rules) Live(s Standings, i int8, target uint8) bool {
	for self := true; i >= 0; i, self = s.Grants[i].Parent, false {
		g := s.Grants[i]
		looks := func(own, parents Flaw) bool { return !k.has(own) && (self || !k.has(parents)) }
		switch {
		case g.Revoked && looks("", DelegateRevoked),
			g.Targets&(1<<target) == 0 && looks(StandingAnything, DelegateTargets),
			g.Expires <= s.Now && looks(StandingExpired, DelegateTime),
			g.Uses == 0 && looks(StandingReused, DelegateUses):
			return false
		}
	}
	return true
}

// Use counts a use of a grant and of all that it comes from.
func (k Rules) Use(s Standings, i int8) {
	for ; i >= 0; i = s.Grants[i].Parent {
		if g := &s.Grants[i]; g.Uses > 0 {
			g.Uses--
		}
		if k.has(DelegateUncosted) {
			return
		}
	}
}

// holding is what was given and used, with what G1 counts for itself.
type holding struct {
	Standings
	given, used [maxStanding]int8
	path        string
	broken      bool
}

const maxStanding = 3

// ExploreStandings explores a first grant, two uses of targets 0 and 1 before
// time 2, that is delegated up to twice, to a depth. It gives the number of
// states and, if G1 fails, how.
func ExploreStandings(k Rules, depth int) (states int, trace string) {
	root := Standing{Parent: -1, Targets: 0b011, Uses: 2, Expires: 2}
	level := []holding{{Standings: Standings{Grants: []Standing{root}}, given: [maxStanding]int8{root.Uses}}}
	seen := map[string]bool{}
	for range depth {
		var next []holding
		for _, h := range level {
			for _, n := range h.moves(k) {
				if n.broken {
					return len(seen), n.path
				}
				if key := fmt.Sprint(n.Standings, n.used); !seen[key] {
					seen[key] = true
					next = append(next, n)
				}
			}
		}
		level = next
	}
	return len(seen), ""
}

func (h *holding) then(format string, args ...any) holding {
	n := *h
	n.Grants = slices.Clone(h.Grants)
	n.path += fmt.Sprintf(format, args...) + "\n"
	return n
}

func (h *holding) moves(k Rules) (out []holding) {
	if h.Now < 3 {
		n := h.then("time passes")
		n.Now++
		out = append(out, n)
	}
	for i := range h.Grants {
		n := h.then("grant %d is revoked", i)
		n.Grants[i].Revoked = true
		out = append(out, n)
		for target := range uint8(3) {
			if k.Live(h.Standings, int8(i), target) {
				out = append(out, h.use(k, int8(i), target))
			}
		}
		if len(h.Grants) < maxStanding {
			out = append(out, h.delegate(k, int8(i))...)
		}
	}
	return out
}

func (h *holding) delegate(k Rules, i int8) (out []holding) {
	for _, targets := range []uint8{0b001, 0b011, 0b110} {
		for _, uses := range []int8{-1, 1, 2, 3} {
			for _, expires := range []int8{1, 3} {
				g := Standing{Parent: i, Targets: targets, Uses: uses, Expires: expires}
				if k.Within(g, h.Grants[i]) {
					n := h.then("grant %d is delegated: %+v", i, g)
					n.given[len(n.Grants)] = uses
					n.Grants = append(n.Grants, g)
					out = append(out, n)
				}
			}
		}
	}
	return out
}

// use makes a use and checks G1 of it, for the grant and all above.
func (h *holding) use(k Rules, i int8, target uint8) holding {
	n := h.then("grant %d is used for %d", i, target)
	for up := i; up >= 0; up = h.Grants[up].Parent {
		g := h.Grants[up]
		n.used[up]++
		n.broken = n.broken || g.Revoked || h.Now >= g.Expires || g.Targets>>target&1 == 0 || h.given[up] >= 0 && n.used[up] > h.given[up]
	}
	k.Use(n.Standings, i)
	return n
}
