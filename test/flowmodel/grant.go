package flowmodel

import "math/bits"

// Grant is a statement under which one object may be lowered once: signatures
// are a set of keys, Requester is the person on whose behalf is asked.
type Grant struct {
	Object, To             uint8
	Signed                 uint8 // keys, one bit each
	Requester              uint8 // person
	Used, Expired, Revoked bool
}

// People says whose each key is and who may sign. The quorum is of people.
type People struct {
	Owner  []uint8 // key -> person
	Rights uint8   // persons that count, one bit each
	Quorum int
}

// count gives the people whose signatures count, without the requester when a
// quorum needs two or more.
func (p People) count(g Grant, k Rules) int {
	var who uint8
	for key, person := range p.Owner {
		if g.Signed&(1<<key) == 0 {
			continue
		}
		if p.Rights&(1<<person) == 0 && !k.has(QuorumOfStrangers) {
			continue
		}
		if p.Quorum >= 2 && person == g.Requester && !k.has(QuorumWithRequester) {
			continue
		}
		if k.has(QuorumOfKeys) {
			person = uint8(key)
		}
		who |= 1 << person
	}
	return bits.OnesCount8(who)
}

// Lower (R8) says whether an object may be lowered to a label under a grant.
// Foreign says that a context of integrity foreign asks for it.
func (k Rules) Lower(p People, g Grant, object, to uint8, foreign bool) Rule {
	need := p.Quorum
	if foreign && !k.has(QuorumForForeign) {
		need++
	}
	switch {
	case k.has(LowerUnsigned):
		return ""
	case object != g.Object && !k.has(LowerAnything):
		return "R8 object"
	case to != g.To && !k.has(LowerFurther):
		return "R8 label"
	case g.Used && !k.has(GrantReused), g.Expired && !k.has(GrantExpired), g.Revoked && !k.has(GrantRevoked):
		return "R8 ended"
	case p.count(g, k) < need:
		return "R8 quorum"
	}
	return ""
}
