// Package agents runs real coding agents, headless, against a scripted model on
// loopback, and has the model attack the machine the way a hijacked one would.
//
// A session is one agent in one column. The column "without" starts the agent
// as its user would and shows that every attack works; the column "guard" starts
// it with sallyport guard and shows that none does, that the honest work still
// gets done, and that the agent talks to its model without holding the key. The
// column "proxy" gives the agent the address of sallyport proxy for its model's,
// and shows that what its configuration forbids has no effect, that the user reads
// by which rule, and that the agent does not ask again.
//
// What each agent needs to start without a network, a login, telemetry and
// questions is in README.md and, as data, in catalogue_test.go.
//
// The agents are pinned by package-lock.json and not part of the tree; without
// them the tests are skipped and say so. Only tests belong here.
package agents
