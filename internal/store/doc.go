// Package store is the one database of an instance: state.db, SQLite in WAL
// mode with synchronous=FULL. It is the gate's ledger and holds events, the
// log's entries and checkpoints, contexts and their labels, money, grants,
// asks and statements, runs and notes, the API keys of clients (hashes only),
// alerts with their deliveries, how far readers of events have come, the vault's
// book, and what is known of its items: objects, messages, signed instructions,
// labels of places, slots of memory.
//
// Invariants: what changes state and the log's entry about it are one
// transaction, so there is no effect without evidence and no evidence without
// effect; nothing is acknowledged before it is on disk; all writes of a process
// go through one goroutine that commits them in groups, of which one that fails
// undoes nothing but itself, and processes take turns (turnstile.go); labels
// only rise; a nonce is consumed once, an instruction is taken once; bits of an
// extraction budget move and are spent but never made of nothing; what the book
// destroyed is in no file when it says so; spent plus reserved never exceeds a limit
// by reservation, be it an agent's, a key's or a day's, and what is held is let
// go everywhere at once; times of entries never decrease; after a failed sync
// nothing is accepted any more.
//
// # Events
//
// Types of events about actions: LLM_call_start, _finish, _blocked, _error for
// model.call and MCP_tool_call_* likewise for tool.call (the names that Cylestio
// Monitor 0.1 gave them); every other kind is "<kind>.start", "<kind>.finish",
// "<kind>.blocked" and "<kind>.error". Start is the intent, blocked a denial or
// a refusal by the ledger, finish an outcome done or released, error any other
// outcome. The fields of data: alert, intent, kind, target, args, labels
// (args, result), context_label and args_label as they were decided on, digest,
// policy (digest of the set), decision, rules, because, advice, needs, approvals
// (person, key, nonce, groups), grant, bits; with an outcome status,
// cost_micros, seconds, output, error, findings and result (the executor's own
// detail). For a model gen_ai.operation.name and gen_ai.request.model are added
// as OpenTelemetry names them. A string longer than 64 KiB is cut and
// "truncated" maps its path to its true length; of a model's messages only the
// last one is kept, with the count and the size of all.
//
// # Withheld texts
//
// What an event says counts as the label of the context that said it, an
// outcome's as that of its result, and what else happens in a session as all
// that the contexts of that agent there have seen. If that is not clear
// (Options.Clear), texts are not stored: no arguments, outputs, sentences of
// rules, errors, quotes of detectors, and no targets but those that the
// configuration or the store itself named (profiles, agents, endpoints, items
// that exist). The event has withheld (the label) and bytes (the size of what is
// missing) instead, and still kind, agent, session, rules' ids, labels, figures
// and who approved. The digest is missing too, unless people signed it: with few
// possible arguments it would tell which they were. Where a clear context only
// refers to something that is not, its own words stay. Asks, statements and
// instructions are stored to the letter, since people must read them.
//
// With Options.Mask all of it is masked before it is cut and stored, and so are
// the targets of intents, notes, and the words of alerts and deliveries. Names
// (agents, sessions, contexts, models' aliases in accounts, keys) are not, and
// neither are asks, statements and grants: what people sign and rules match must
// be there to the letter. Asks of sessions that know more than Options.Clear, and
// the statements about them, are sealed with Options.Sealer instead.
//
// Data begin with the alert, so that the index of alerts need not look further
// where there is none. Rows of events, leaves and openings are inserted together
// at the end of a batch, or before a statement that names their tables.
//
// Events, asks and notes leave by Erase, one at a time, or by Retain, all before
// a time; entries of the log, costs and counters stay.
//
// It imports the vocabulary; the tree's functions are injected by app. Drivers
// and other services must not import it.
package store
