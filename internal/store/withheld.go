package store

import (
	"context"
	"maps"
	"strings"

	"sallyport/internal/action"
	"sallyport/internal/label"
	"sallyport/internal/record"
)

// Texts that are too confidential to lie about in the clear are not stored: an
// event then says, instead of them, withheld (their label) and bytes (how much
// they were). What stays is a closed list, for a text of a secret context is
// whatever its model wants it to be, also where only a name is expected.

// clearByDefault is the label up to which texts are stored unless told otherwise.
var clearByDefault = label.New(label.Internal, label.Foreign, 0)

// Clears reports whether texts with a label are stored as they are, see
// Options.Clear.
func (s *Store) Clears(l label.Label) bool {
	if s.opt.Clear == (label.Label{}) {
		return l.ConfFlowsTo(clearByDefault)
	}
	return l.ConfFlowsTo(s.opt.Clear)
}

// names lists the arguments that only name what an action is about. They count
// as the context that wrote them, also if what they name is more confidential.
var names = map[action.Kind][]string{
	action.DataRead:      {"item", "version", "taint"},
	action.DataWrite:     {"item", "label", "from", "sha256", "bytes"},
	action.DataLower:     {"item", "version", "from", "label", "purpose", "new"},
	action.DataErase:     {"item", "version"},
	action.DataHold:      {"item", "version", "held"},
	action.DataExtract:   {"item", "version", "schema", "bits", "child"},
	action.MessageSend:   {"recipient", "slot", "sha256", "bytes"},
	action.AgentSpawn:    {"agent", "context", "label", "ceiling", "budget", "parent", "bits", "instruction"},
	action.AgentInstruct: {"label", "clearance", "type", "id", "expires"},
}

// view is which texts about an intent may be stored.
type view struct {
	s       *Store
	context bool        // those that the context wrote
	args    bool        // those that came by reference too
	label   label.Label // of what is withheld
	bytes   int         // size of it
}

// viewOf measures an intent. Without references the arguments are the context's
// own words, so that a context nobody described cannot pass for a clear one.
func (s *Store) viewOf(in record.Intent) *view {
	wrote := in.Context
	if len(in.Action.ArgLabels) == 0 {
		wrote = wrote.Join(in.Args)
	}
	args := wrote.Join(in.Args).Join(orderLabel(in.Action))
	return &view{s: s, context: s.Clears(wrote), args: s.Clears(args), label: args}
}

// orderLabel gives the label of an order's text, which the order itself names.
func orderLabel(a action.Action) label.Label {
	if a.Kind != action.AgentInstruct {
		return label.Bottom
	}
	l, err := label.Parse(a.Arg("label"))
	if err != nil {
		return label.Unlabelled
	}
	return l
}

// whole reports whether everything may be stored.
func (v *view) whole() bool { return v.context && v.args }

// digest gives the action's digest, unless few arguments would have to be tried
// to tell from it which one is withheld. What people signed they could read.
func (v *view) digest(in record.Intent) *action.Digest {
	if v.whole() || len(in.Approvals) > 0 {
		return &in.Digest
	}
	return nil
}

// text gives a text that the context wrote, or nothing.
func (v *view) text(s string) string {
	if !v.context {
		v.bytes += len(s)
		return ""
	}
	return s
}

// arguments gives the arguments that may be stored.
func (v *view) arguments(a action.Action) action.Action {
	if v.whole() {
		return a
	}
	all := a.Args
	a.Args = map[string]any{}
	if v.context {
		for _, name := range names[a.Kind] {
			if value, ok := all[name]; ok {
				a.Args[name] = value
			}
		}
	}
	for name, value := range all {
		if _, ok := a.Args[name]; !ok {
			v.bytes += sizeOf(value)
		}
	}
	return a
}

// findings gives what detectors saw, without quotes of what they saw it in.
func (v *view) findings(all []record.Finding) []record.Finding {
	if v.whole() {
		return all
	}
	out := make([]record.Finding, len(all))
	for i, f := range all {
		v.bytes += len(f.Detail)
		f.Detail = ""
		out[i] = f
	}
	return out
}

// obligations gives what the gate owes: a grant's id is the store's, what else
// there is may be anything.
func (v *view) obligations(all []record.Obligation) []record.Obligation {
	if v.context {
		return all
	}
	var out []record.Obligation
	for _, o := range all {
		if o.Kind == record.ObligationGrant {
			out = append(out, o)
		}
	}
	return out
}

// mark says in an event what it does not say.
func (v *view) mark(data map[string]any) {
	if v.bytes > 0 {
		data["withheld"], data["bytes"] = v.label.String(), v.bytes
	}
}

func sizeOf(v any) int {
	b, err := marshal(v)
	if err != nil {
		return 0
	}
	return len(b)
}

// withheldModel stands for the name of a model, which a client chooses.
const withheldModel = "(withheld)"

// target gives an action's target, or what of it the operator's configuration
// or the store itself chose.
func (v *view) target(in record.Intent) string {
	a := in.Action
	if v.context {
		return a.Target
	}
	kept := ""
	if in.Decision.Verdict == record.Allow {
		switch a.Kind { //nolint:exhaustive // whatever else there is may be a text
		case action.SessionStart, action.AgentSpawn, action.AgentStop:
			kept = a.Target
		case action.ModelCall:
			if endpoint, _, ok := strings.Cut(a.Target, "/"); ok {
				kept = endpoint + "/" + withheldModel
			}
		case action.DataRead, action.DataExtract, action.DataErase, action.DataHold, action.DataLower:
			if v.s.isItem(a.Target) {
				kept = a.Target
			}
		}
	}
	if kept != a.Target {
		v.bytes += len(a.Target)
	}
	return kept
}

// isItem reports whether there is an item or message of that name: then it is no
// text of whoever asks for it.
func (s *Store) isItem(id string) bool {
	there := false
	err := s.each(context.Background(), "store.isItem", `SELECT EXISTS (SELECT 1 FROM objects WHERE id=?1) OR EXISTS (SELECT 1 FROM messages WHERE id=?1)`,
		[]any{id}, func(scan func(...any) error) error { return scan(&there) })
	return there && err == nil
}

// withhold replaces the data of an outcome that are not clear. What a call used
// stays, because it is paid for.
func (s *Store) withhold(out record.Outcome) (record.Outcome, *view) {
	v := &view{s: s, label: out.Result.Label}
	r := out.Result
	v.bytes = len(r.Output)
	if out.Err != lost && out.Err != lostPaid { // those are ours
		v.bytes += len(out.Err)
		out.Err = ""
	}
	for k, value := range r.Data {
		if k != "alert" && k != "usage" {
			v.bytes += sizeOf(value)
		}
	}
	data := map[string]any{}
	if u := usageOf(r.Data); u != (usage{}) {
		data["usage"] = map[string]any{
			"input_tokens": u.input, "output_tokens": u.output, "cache_read_tokens": u.cacheRead, "cache_write_tokens": u.cacheWrite, "reasoning_tokens": u.reasoning,
		}
	}
	r.Output, r.Findings, r.Data = "", v.findings(r.Findings), data
	out.Result = r
	return out, v
}

// rowKept makes the row of an event, of which the named data stay whatever the
// label of its session is: they are ours.
func (s *Store) rowKept(e record.Event, kept ...string) eventRow {
	r := s.rowOf(e)
	for _, name := range kept {
		if r.kept == nil {
			r.kept = map[string]any{}
		}
		r.kept[name] = e.Data[name]
	}
	return r
}

// event appends an event that is no action's. What happens in a session counts
// as all that the contexts there have seen.
func (t *tx) event(r eventRow, digest *action.Digest) (leaf int64, err error) {
	l, err := t.sessionLabel(r.agent, r.session)
	if err != nil {
		return 0, err
	}
	if l = l.Join(r.label); !t.s.Clears(l) {
		data := map[string]any{"alert": r.alert, "withheld": l.String(), "bytes": len(r.data)}
		maps.Copy(data, r.kept)
		r.data = encode(data, &trimmer{mask: t.s.opt.Mask})
	}
	return t.append(entry{kind: "event", row: r, digest: digest})
}

// maxSessions bounds how many sessions' labels are remembered.
const maxSessions = 1024

// sessionLabel joins the labels of an agent's contexts in a session, or of
// everybody's for the empty agent. It is remembered until a context changes,
// here or, which the head tells, in another process.
func (t *tx) sessionLabel(agent, session string) (label.Label, error) {
	out := label.Bottom
	if session == "" {
		return out, nil
	}
	key := agent + "\x00" + session
	if l, ok := t.s.sessions[key]; ok {
		return l, nil
	}
	err := t.each(func(scan func(...any) error) error {
		var text string
		if err := scan(&text); err != nil {
			return err
		}
		l, err := storedLabel("store.sessionLabel", text)
		out = out.Join(l)
		return err
	}, `SELECT label FROM contexts WHERE session=?1 AND (agent=?2 OR ?2='')`, session, agent)
	if err != nil {
		return label.Unlabelled, err
	}
	if len(t.s.sessions) >= maxSessions {
		clear(t.s.sessions)
	}
	t.s.sessions[key] = out
	return out, nil
}
