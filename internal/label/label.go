// Package label is the lattice that every piece of data, context and sink in
// Sallyport is measured with: a confidentiality level, a set of compartments
// and an integrity.
//
// A flow from a to b is permitted iff a's level and compartments are contained
// in b's and a's integrity is at least b's (Bell–LaPadula for confidentiality,
// Biba for integrity). Join is the least upper bound; a context's label only
// ever rises by joining.
//
// Invariants: the zero value is NOT a safe default for data, use Unlabelled;
// values are comparable with ==; no operation allocates.
//
// Everybody may import it; it imports the standard library only.
package label

import "math/bits"

// Level is the confidentiality of data, 0 (public) to 3 (secret).
type Level uint8

// The four levels.
const (
	Public Level = iota
	Internal
	Confidential
	Secret
)

// Integrity says who vouches for data: the higher, the more it is trusted.
type Integrity uint8

// The three integrities. Signed is reached only through verified signatures.
const (
	Foreign Integrity = iota // anybody may have written it
	Member                   // written by a configured principal
	Signed                   // authorised by verified signatures
)

// Compartments is a set of at most 64 compartments, one bit each.
type Compartments uint64

// AllCompartments is the set that contains every compartment.
const AllCompartments = ^Compartments(0)

// Contains reports whether every compartment of o is in c.
func (c Compartments) Contains(o Compartments) bool { return o&^c == 0 }

// Count gives the number of compartments in the set, 0 to 64.
func (c Compartments) Count() int { return bits.OnesCount64(uint64(c)) }

// Label is a point of the lattice.
type Label struct {
	Compartments Compartments
	Level        Level
	Integrity    Integrity
}

// Unlabelled is the label of data that carries none: the most confidential and
// the least trusted, so that forgetting a label can only deny.
var Unlabelled = Label{Compartments: AllCompartments, Level: Secret, Integrity: Foreign}

// Bottom is the least label: public, no compartments, signed. Joining with it
// changes nothing.
var Bottom = Label{Integrity: Signed}

// New makes a label of a level, an integrity and compartments.
func New(level Level, integrity Integrity, comps Compartments) Label {
	return Label{Compartments: comps, Level: level, Integrity: integrity}
}

// Join is the least label that both a and b flow to: the higher level, the
// union of the compartments, the lower integrity.
func (a Label) Join(b Label) Label {
	return Label{
		Compartments: a.Compartments | b.Compartments,
		Level:        max(a.Level, b.Level),
		Integrity:    min(a.Integrity, b.Integrity),
	}
}

// Meet is the greatest label that flows to both a and b: the lower level, the
// common compartments, the higher integrity. A ceiling that must satisfy two
// bounds is their meet.
func (a Label) Meet(b Label) Label {
	return Label{
		Compartments: a.Compartments & b.Compartments,
		Level:        min(a.Level, b.Level),
		Integrity:    max(a.Integrity, b.Integrity),
	}
}

// FlowsTo reports whether data labelled a may become data labelled b.
func (a Label) FlowsTo(b Label) bool {
	return a.ConfFlowsTo(b) && a.Integrity >= b.Integrity
}

// ConfFlowsTo compares confidentiality alone: may data labelled a be seen by a
// reader or sink cleared for b?
func (a Label) ConfFlowsTo(b Label) bool {
	return a.Level <= b.Level && b.Compartments.Contains(a.Compartments)
}

// Valid reports whether level and integrity are in range.
func (a Label) Valid() bool { return a.Level <= Secret && a.Integrity <= Signed }
