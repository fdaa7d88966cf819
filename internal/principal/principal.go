// Package principal names who is behind an action: a person with a tier, an
// agent, a service or the operator.
//
// Invariants: a tier comes from the mechanism that authenticated a message,
// never from what a text claims; the zero Principal is an unknown stranger.
//
// Everybody may import it; it imports the standard library only.
package principal

// Kind says what sort of principal it is.
type Kind uint8

// The kinds of principal.
const (
	Unknown  Kind = iota
	Person        // somebody who can send messages
	Agent         // a configured agent
	Service       // another program with a key
	Operator      // the OS user who owns the state directory, at a terminal
)

var kindNames = [...]string{"unknown", "person", "agent", "service", "operator"}

// String gives the kind's stable name.
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return "unknown"
}

// Tier is what identity a person has by mechanism; a higher tier may do more.
type Tier uint8

// The ladder, lowest first.
const (
	Blocked Tier = iota
	Stranger
	Contact
	Owner
)

var tierNames = [...]string{"blocked", "stranger", "contact", "owner"}

// String gives the tier's stable name.
func (t Tier) String() string {
	if int(t) < len(tierNames) {
		return tierNames[t]
	}
	return "blocked"
}

// Principal identifies who is behind something.
type Principal struct {
	Kind Kind
	Name string // stable id: an agent's username, a person's id on its channel
	Tier Tier   // meaningful for persons; the operator is always Owner
}

// ForAgent gives the principal of a configured agent.
func ForAgent(username string) Principal { return Principal{Kind: Agent, Name: username} }

// TheOperator gives the principal of the operator.
func TheOperator(user string) Principal {
	return Principal{Kind: Operator, Name: user, Tier: Owner}
}

// String renders "kind:name".
func (p Principal) String() string { return p.Kind.String() + ":" + p.Name }
