// Package flowmodel is the label rules R0 to R10 as a machine small enough to be
// explored exhaustively, and the theorems that they are for.
//
// The rules are pure functions over label.Label (rules.go, grant.go). The
// machine (step.go, family.go) makes contexts read, send and receive mail, call
// tools, make objects, spawn, await and set back a child, extract bits and lower
// objects under signed grants; worlds (worlds.go) say who exists. Explore visits
// every state that any strategy of all contexts together can reach, in every
// interleaving, breadth first, so that a counterexample is a shortest one.
//
// # What is compared
//
// A state is two or three runs at once which differ only in hidden bytes. Bytes
// are kept as which runs have the same: that loses what they say, and any
// function of what a context knows stands for what it might say. In runs in
// which a context has seen the same it does the same; where it has seen
// something else each run goes on by itself. Whoever runs a context is thereby
// any deterministic function from all that it saw to what it tries next.
//
// # Theorems
//
//   - T0: where a context has seen the same, its label, ceiling, references and
//     budget are the same; without it the others would say nothing.
//   - T1: tools, model endpoints and agents that an observer is cleared for see
//     the same in runs that differ in what the observer is not cleared for; after
//     a release under R8 that T5 finds right, nothing more is said.
//   - T2: calls of tools that need integrity have the same control arguments, in
//     the same order, in runs that differ in foreign data.
//   - T3: a label never falls, nor below what it was made from, nor passes the
//     context's ceiling, the agent's clearance, the endpoint's.
//   - T4: with a budget of b bits three runs that differ in foreign data have at
//     most 2^b traces of calls that need member, one of those that need signed.
//   - T5: what is lowered was the object that the grant names, to the label it
//     names, once, before it expired or was revoked, signed by a quorum of people
//     with that right, without the requester if two or more are needed, and one
//     more if a foreign context asked.
//   - G1 (delegate.go): whatever is delegated, used and revoked in whatever
//     order, what is used is within the first grant, its uses and its time, and
//     nothing works after a grant above it is revoked.
//
// # Bounds
//
// Two levels, two compartments, three integrities; one to three contexts, of
// which one is a child that is born at most once in each run (and set back any
// number of times); one to four objects at the start and one or two that each
// context makes; up to two slots and three tools. The worlds are finite, and
// within them nothing else is bounded: all of them were explored to the end, of
// whatever length a strategy is (SALLYPORT_MODEL_FULL does it again); TestWorlds
// says which are each time, and how deep the largest are. States are told apart
// by a 64-bit hash seeded anew each time: with 10^6 states a collision, which
// could hide one, has a chance below 10^-7.
//
// Not in it: time and the use of resources, beyond that a run in which a context
// acts and one in which it waits are told apart; what people choose to sign; the
// bytes themselves, thus filters and detectors; endorsed tools and network rules,
// where the operator vouches for what no rule here would allow; approvals of
// single actions; erasure; that a hash or a signature is what it says. A body
// that is passed by reference to a tool is not compared by T2: R3b is about
// control arguments alone.
//
// # What the model taught
//
// Beyond the rules as they were first written, without which a theorem fails:
//
//   - R6: the child's agent and its endpoint are cleared for the label that it is
//     born with, because it starts with all that its parent knows.
//   - R7: a budget belongs to one context. A child gets a share for good, because
//     a common budget tells those below how much was spent above; a child that is
//     set back (R9) gets none of it back.
//   - R2: an object is reached by a reference only. Where names can be guessed,
//     that one exists is itself data of whoever made it, and denying alike what is
//     absent and what is too high is not enough: who is allowed to read it rises
//     where it exists, and not where it does not.
//   - R8: that a grant is used up is seen by whoever asks next: one bit which the
//     people who sign release with it.
//
// With unguessable references two rules are not needed for T1 and T2, R6's
// M(y) above L(x) and R5's label of who made an object: they are held by T3.
//
// It imports label only and belongs to tests: those here, which kill every
// broken variant of the rules, and those of policy, which hold the
// implementation against Rules.
package flowmodel
