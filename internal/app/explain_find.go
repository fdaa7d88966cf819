package app

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"sallyport/internal/action"
	"sallyport/internal/fault"
	"sallyport/internal/store"
)

// Phases of an action's events, as their types end.
const (
	phaseStart   = "start"
	phaseBlocked = "blocked"
	phaseFinish  = "finish"
	phaseError   = "error"
)

// typeOf names the event of a phase of an action, as the store does.
func typeOf(kind action.Kind, phase string) string {
	switch kind { //nolint:exhaustive // every other kind names itself
	case action.ModelCall:
		return "LLM_call_" + phase
	case action.ToolCall:
		return "MCP_tool_call_" + phase
	}
	return string(kind) + "." + phase
}

// phaseOf gives what an event is to an action: the phase, or "" for an event
// that is no action's. Names of actions' events are kept from clients.
func phaseOf(r store.EventRow) string {
	h, ok := headOf(r)
	if !ok {
		return ""
	}
	for _, phase := range []string{phaseStart, phaseBlocked, phaseFinish, phaseError} {
		if r.Type == typeOf(action.Kind(h.Kind), phase) {
			return phase
		}
	}
	return ""
}

// head is what every event of an action has at the top of its data.
type head struct {
	Intent int64  `json:"intent"`
	Kind   string `json:"kind"`
}

func headOf(r store.EventRow) (head, bool) {
	var h head
	err := json.Unmarshal(r.Data, &h)
	_, known := action.RowOf(action.Kind(h.Kind))
	return h, err == nil && h.Intent > 0 && known
}

// find gives the event that was asked about.
func (x *explainer) find(ctx context.Context) (store.EventRow, error) {
	const op = "app.explainEvent"
	q := x.query
	switch {
	case q.Newest:
		return x.newest(ctx)
	case q.Intent > 0:
		row, ok, err := x.ofIntent(ctx, q.Intent, q.Intent-1, "", phaseStart, phaseBlocked)
		if err == nil && !ok {
			err = fault.New(op, fault.NotFound, "there is no intent %d, or it was erased; `sallyport events` lists events with their ids", q.Intent)
		}
		return row, err
	case q.Event > 0:
		rows, err := x.st.Events(ctx, store.Filter{AfterID: q.Event - 1, Limit: 1})
		if err != nil {
			return store.EventRow{}, err
		}
		if len(rows) == 0 || rows[0].ID != q.Event {
			return store.EventRow{}, fault.New(op, fault.NotFound, "there is no event %d; `sallyport events` lists them with their ids", q.Event)
		}
		return rows[0], nil
	}
	return store.EventRow{}, fault.New(op, fault.Usage, "an event's id is a positive number; `sallyport events` lists them")
}

func (x *explainer) newest(ctx context.Context) (store.EventRow, error) {
	phases := []string{phaseStart, phaseBlocked}
	what := "decision"
	if x.query.Denied {
		phases, what = phases[1:], "denial"
	}
	rows, err := x.st.Events(ctx, store.Filter{Types: decisionTypes(phases...), Limit: 1, Newest: true})
	if err != nil {
		return store.EventRow{}, err
	}
	if len(rows) == 0 {
		return store.EventRow{}, fault.New("app.explainEvent", fault.NotFound, "there is no %s yet; `sallyport events` lists what happened", what)
	}
	return rows[0], nil
}

// decisionTypes lists the types of all actions' events of some phases.
func decisionTypes(phases ...string) []string {
	var out []string
	for _, phase := range phases {
		for _, row := range action.Kinds() {
			out = append(out, typeOf(row.Kind, phase))
		}
	}
	return out
}

// intentPage is how many candidates are read at a time.
const intentPage = 100

// ofIntent finds the first event of an intent in one of some phases. Every
// intent has an event, so the event's id is at least the intent's. That the
// text looks right is only a beginning: arguments are what models write.
func (x *explainer) ofIntent(ctx context.Context, intent, after int64, session string, phases ...string) (store.EventRow, bool, error) {
	f := store.Filter{AfterID: after, Session: session, Types: decisionTypes(phases...), Text: fmt.Sprintf(`"intent":%d`, intent), Limit: intentPage}
	for {
		rows, err := x.st.Events(ctx, f)
		if err != nil {
			return store.EventRow{}, false, err
		}
		for _, r := range rows {
			if h, ok := headOf(r); ok && h.Intent == intent && phaseOf(r) != "" {
				return r, true, nil
			}
		}
		if len(rows) < intentPage {
			return store.EventRow{}, false, nil
		}
		f.AfterID = rows[len(rows)-1].ID
	}
}

// what says in one sentence what the event is.
func (x *explainer) what(d *ExplainedDecision) string {
	h, _ := headOf(x.asked.row)
	switch phase := phaseOf(x.asked.row); {
	case d == nil && x.asked.place.Erased:
		return "what it said was erased; its entry in the log stays"
	case d == nil:
		return x.plain()
	case phase == phaseFinish || phase == phaseError:
		return fmt.Sprintf("the outcome of intent %d, decided by event %d", h.Intent, d.Event)
	}
	return fmt.Sprintf("the decision about intent %d", h.Intent)
}

// plain describes an event that no decision belongs to.
func (x *explainer) plain() string {
	who := "Sallyport itself"
	switch {
	case x.asked.row.Agent != "":
		who = "agent " + x.asked.row.Agent
	case x.asked.row.Channel == "OPERATOR":
		who = "the operator"
	case x.asked.row.Channel == "API":
		who = "a client"
	}
	if phaseOf(x.asked.row) != "" {
		return "it has the form of an action's event, but its entry in the log is none of a decision; nothing was decided by it"
	}
	return strings.TrimSpace("an event of type " + x.asked.row.Type + " by " + who + "; nothing was decided by it")
}
