package app

import (
	"cmp"
	"context"
	"encoding/hex"
	"encoding/json"
	"slices"
	"strings"

	"sallyport/internal/action"
	"sallyport/internal/fault"
	"sallyport/internal/label"
	"sallyport/internal/record"
	"sallyport/internal/store"
)

// stored is the data of an intent's event, read without trusting its shape:
// what is absent or of another type is empty.
type stored struct {
	proven

	fields          map[string]json.RawMessage
	intent          int64
	kind            action.Kind
	target          string
	args            map[string]any
	context, joined label.Label // of the transcript before, and with all arguments
	contextKnown    bool        // else context is only the best guess
	rules           []string
	approvals       []storedApproval
	set, digest     string
	missing         []string
}

// storedApproval is one approval that an intent consumed.
type storedApproval struct {
	Person string   `json:"person"`
	Key    string   `json:"fingerprint"`
	Nonce  string   `json:"nonce"`
	Groups []string `json:"groups"`
}

// field gives one field of an event's data, or its zero value.
func field[T any](fields map[string]json.RawMessage, name string) T {
	var v T
	if json.Unmarshal(fields[name], &v) != nil {
		var zero T
		return zero
	}
	return v
}

// decision explains the decision that an event is about, nil if there is none.
// It fills x.asked.
func (x *explainer) decision(ctx context.Context, row store.EventRow) (*ExplainedDecision, error) {
	rows := []store.EventRow{row}
	h, _ := headOf(row)
	decided := 0
	switch phaseOf(row) {
	case phaseFinish, phaseError:
		r, ok, err := x.ofIntent(ctx, h.Intent, h.Intent-1, row.Session, phaseStart, phaseBlocked)
		if err != nil {
			return nil, err
		}
		decided = -1
		if ok {
			rows, decided = append(rows, r), 1
		}
	case "":
		decided = -1
	}
	outcome := -1
	if decided >= 0 && phaseOf(rows[decided]) == phaseStart {
		r, ok, err := x.outcome(ctx, h.Intent, rows[decided])
		if err != nil {
			return nil, err
		}
		if ok {
			rows, outcome = append(rows, r), len(rows)
		}
	}
	all, err := x.prove(ctx, rows)
	if err != nil {
		return nil, err
	}
	x.asked = all[0]
	if decided < 0 || !isDecision(all[decided]) {
		return nil, nil //nolint:nilnil // no decision is an answer, not an error
	}
	out, err := x.explain(ctx, readStored(all[decided]))
	if outcome >= 0 && out != nil {
		out.Effect = effectOf(all[outcome])
		out.Effect.Label = x.shown(out.Effect.Label)
		if w := out.Effect.Withheld; w != nil {
			w.Label = x.shown(w.Label)
		}
	}
	return out, err
}

// isDecision reports whether the log itself says that something was decided. An
// entry that could not be verified is believed, and said not to verify.
func isDecision(p proven) bool {
	want := "intent"
	if phaseOf(p.row) == phaseBlocked {
		want = "deny"
	}
	return !p.place.Included || p.leaf.Kind == want
}

// outcome finds how an action ended: a released one may have ended twice.
func (x *explainer) outcome(ctx context.Context, intent int64, start store.EventRow) (store.EventRow, bool, error) {
	row, ok, err := x.ofIntent(ctx, intent, start.ID, start.Session, phaseFinish, phaseError)
	if err != nil || !ok || effectOf(proven{row: row}).Status != string(record.Released) {
		return row, ok, err
	}
	later, again, err := x.ofIntent(ctx, intent, row.ID, start.Session, phaseFinish, phaseError)
	if again {
		row = later
	}
	return row, true, err
}

func effectOf(p proven) *Effect {
	fields := field[map[string]json.RawMessage](map[string]json.RawMessage{"": p.row.Data}, "")
	e := &Effect{
		Event: p.row.ID, Verified: p.place.Verified, Status: field[string](fields, "status"),
		Dollars: record.Micros(field[int64](fields, "cost_micros")).Dollars(), Seconds: field[float64](fields, "seconds"),
		Output: field[string](fields, "output"), Error: field[string](fields, "error"), Label: field[string](fields, "label"),
		Findings: field[[]record.Finding](fields, "findings"), Withheld: withheldIn(fields),
	}
	return e
}

// withheldIn tells what the store did not keep of an event's texts, nil for
// nothing.
func withheldIn(fields map[string]json.RawMessage) *Withheld {
	w := Withheld{Label: field[string](fields, "withheld"), Bytes: field[int64](fields, "bytes")}
	if w.Label == "" {
		return nil
	}
	return &w
}

// readStored reads an intent's event.
func readStored(p proven) stored {
	s := stored{proven: p, fields: field[map[string]json.RawMessage](map[string]json.RawMessage{"": p.row.Data}, "")}
	h, _ := headOf(p.row)
	s.intent, s.kind = h.Intent, action.Kind(h.Kind)
	s.target, s.rules = field[string](s.fields, "target"), field[[]string](s.fields, "rules")
	s.set = cmp.Or(field[string](s.fields, "policy_set"), field[string](s.fields, "policy"))
	if s.args = map[string]any{}; len(s.fields["args"]) > 0 {
		var err error
		if s.args, err = action.ParseObject(s.fields["args"]); err != nil {
			s.args = field[map[string]any](s.fields, "args")
		}
	}
	if s.digest = hex.EncodeToString(p.digest); s.digest == "" {
		s.digest = field[string](s.fields, "digest")
	}
	s.approvals = field[[]storedApproval](s.fields, "approvals")
	if len(s.approvals) == 0 {
		for _, person := range field[[]string](s.fields, "approved_by") {
			s.approvals = append(s.approvals, storedApproval{Person: person})
		}
	}
	labels := field[map[string]string](s.fields, "labels")
	s.joined = s.label(argsLabel, cmp.Or(field[string](s.fields, "args_label"), labels["args"]))
	s.context = s.joined // unless it is recorded
	if text := cmp.Or(field[string](s.fields, "context_label"), labels["context"]); text != "" {
		s.context, s.contextKnown = s.label("label of the context before", text), true
	}
	for name, absent := range map[string]bool{"policy set": s.set == "", "digest of the action": s.digest == ""} {
		if absent {
			s.missing = append(s.missing, name)
		}
	}
	slices.Sort(s.missing)
	return s
}

// argsLabel is what is missing when the label of the arguments is.
const argsLabel = "label of the arguments"

// label reads a label; one that is not there is the worst, and missing.
func (s *stored) label(what, text string) label.Label {
	l, err := label.Parse(text)
	if err != nil {
		s.missing = append(s.missing, what)
		return label.Unlabelled
	}
	return l
}

// explain puts a decision together.
func (x *explainer) explain(ctx context.Context, s stored) (*ExplainedDecision, error) {
	labels := field[map[string]string](s.fields, "labels")
	out := &ExplainedDecision{
		Event: s.row.ID, Intent: s.intent, Time: s.row.Time, Verdict: field[string](s.fields, "decision"),
		Because: field[string](s.fields, "because"), Verified: s.place.Verified,
		Asked: Asked{
			Kind: string(s.kind), Target: s.target, Agent: s.row.Agent, Session: s.row.Session,
			Context: field[string](s.fields, "context"), Principal: field[string](s.fields, "principal"), Args: s.args,
		},
		Labels: ExplainedLabels{Result: x.shown(labels["result"])},
		Advice: append([]record.Finding{}, field[[]record.Finding](s.fields, "advice")...),
		Held:   record.Micros(field[int64](s.fields, "reserved_micros")).Dollars(), Key: field[string](s.fields, "key"),
		Digest: s.digest, PolicySet: s.set, Missing: append([]string{}, s.missing...), Rules: []ExplainedRule{},
	}
	if !slices.Contains(s.missing, argsLabel) {
		out.Labels.Args = x.app.scheme().Format(s.joined)
	}
	if out.Asked.Withheld = withheldIn(s.fields); out.Asked.Withheld != nil {
		out.Asked.Withheld.Label = x.shown(out.Asked.Withheld.Label)
	}
	if err := x.people(ctx, s, out); err != nil {
		return nil, err
	}
	if err := x.grant(ctx, s, out); err != nil {
		return nil, err
	}
	return out, x.judge(ctx, &s, out)
}

// shown gives a stored label by the configured names.
func (x *explainer) shown(text string) string {
	l, err := label.Parse(text)
	if err != nil {
		return text
	}
	return x.app.scheme().Format(l)
}

// grant looks up the grant that a decision rested on, and who gave it.
func (x *explainer) grant(ctx context.Context, s stored, out *ExplainedDecision) error {
	id := field[string](s.fields, "grant")
	for _, r := range s.rules {
		if g, ok := strings.CutPrefix(r, "grant:"); ok && id == "" {
			id = g
		}
	}
	if id == "" {
		return nil
	}
	out.Grant = &ExplainedGrant{GrantInfo: GrantInfo{ID: id, State: "gone"}}
	all, err := x.app.Grants(ctx, "", true)
	if err != nil {
		return err
	}
	if i := slices.IndexFunc(all, func(g GrantInfo) bool { return g.ID == id }); i >= 0 {
		out.Grant.GrantInfo, out.Grant.Known = all[i], true
	}
	text, err := json.Marshal(id)
	if err != nil {
		return fault.Wrap("app.explainEvent", fault.Internal, err)
	}
	rows, err := x.st.Events(ctx, store.Filter{Types: []string{"grant.give"}, Text: `"grant":` + string(text), Limit: intentPage})
	for _, r := range rows {
		var given struct{ Grant, By string }
		if json.Unmarshal(r.Data, &given) == nil && given.Grant == id {
			out.Grant.By = given.By
		}
	}
	return err
}
