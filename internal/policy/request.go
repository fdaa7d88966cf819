package policy

import (
	"slices"

	"github.com/cedar-policy/cedar-go/types"

	"sallyport/internal/action"
)

// request builds the Cedar request of a question; it is the only place that
// does, and follows Schema key by key.
func (e *Engine) request(f *facts, approvals map[string]int) types.Request {
	q := f.q
	a := &q.Action
	ctx := types.RecordMap{
		"target":    types.String(a.Target),
		"read_only": types.Boolean(f.readOnly),
		"now":       types.NewDatetime(q.Now),
		"tier":      types.String(a.Principal.Tier.String()),
		"agent":     e.agentRecord(f),
		"label":     e.shared.label(q.Args),
		"sink":      e.shared.sink(f.sink),
		"flow":      e.shared.flow(f.flow),
		"hist":      e.historyRecord(f),
		"approval":  e.approvalRecord(approvals),
		"args":      argsRecord(f.row, a),
	}
	if slices.Contains(screened, a.Kind) {
		ctx["screen"] = e.shared.noScreen
		if len(f.screen.Items) > 0 {
			ctx["screen"] = stringSet(f.screen.Items)
		}
	}
	switch a.Kind {
	case action.Exec:
		ctx["command"] = types.NewRecord(types.RecordMap{
			"programs": stringSet(f.command.Programs), "blocked": stringSet(f.command.Blocked),
			"unresolved": types.Boolean(f.command.Unresolved),
		})
	case action.FileRead, action.FileWrite:
		ctx["path_allowed"] = types.Boolean(f.pathOK)
	case action.NetConnect, action.HTTPRequest:
		ctx["destination"] = types.NewRecord(types.RecordMap{
			"exact": types.Boolean(f.dest.ok), "host": types.String(f.dest.host), "port": types.Long(f.dest.port),
			"program": types.String(f.dest.program),
		})
	default:
	}
	return types.Request{
		Principal: types.NewEntityUID(principalTypes[a.Principal.Kind], types.String(a.Principal.Name)),
		Action:    actionUID(a.Kind),
		Resource:  types.NewEntityUID(resourceTypes[a.Kind], types.String(a.Target)),
		Context:   types.NewRecord(ctx),
	}
}

func actionUID(k action.Kind) types.EntityUID { return types.NewEntityUID("Action", types.String(k)) }

func (e *Engine) agentRecord(f *facts) types.Record {
	key := agentKey{name: f.q.Action.Agent, self: f.self}
	if r, ok := e.agentRecords[key]; ok {
		return r
	}
	return makeAgentRecord(key, Agent{}, Profile{}, false) // unknown
}

// agentKey indexes the records that were built in advance.
type agentKey struct {
	name string
	self bool
}

func makeAgentRecord(k agentKey, a Agent, p Profile, known bool) types.Record {
	protection := a.Protection
	if protection == "" {
		protection = ProtectNone
	}
	return types.NewRecord(types.RecordMap{
		"name": types.String(k.name), "known": types.Boolean(known), "self": types.Boolean(k.self),
		"profile": types.String(a.Profile), "protection": types.String(protection),
		"exec": types.Boolean(p.Exec), "writable": types.Boolean(p.Writable),
	})
}

// historyRecord gives the counters; they change with every action, so only the
// untouched ones can be built in advance.
func (e *Engine) historyRecord(f *facts) types.Record {
	s := &f.q.Snapshot
	h := history{calls: s.Calls[string(f.q.Action.Kind)], denials: s.Denials, spent: s.Spent}
	if h == (history{}) {
		return e.shared.noHistory
	}
	return h.record()
}

func (e *Engine) approvalRecord(approvals map[string]int) types.Record {
	if len(approvals) == 0 {
		return e.noApprovals
	}
	m := make(types.RecordMap, len(e.groups))
	for _, g := range e.groups {
		m[types.String(g)] = types.Long(max(approvals[g], 0))
	}
	return types.NewRecord(m)
}

func argsRecord(row action.Row, a *action.Action) types.Record {
	if len(a.Args) == 0 {
		return types.Record{}
	}
	m := make(types.RecordMap, len(row.Control)+1)
	for _, name := range argNames(row) {
		v, ok := a.Args[name]
		if !ok {
			continue
		}
		s, ok := v.(string)
		if !ok {
			b, err := action.Canonical(v)
			if err != nil {
				continue // the gate refuses an action that has no exact JSON
			}
			s = string(b)
		}
		m[types.String(name)] = types.String(s)
	}
	return types.NewRecord(m)
}

func stringSet(ss []string) types.Set {
	if len(ss) == 0 {
		return types.Set{}
	}
	vs := make([]types.Value, len(ss))
	for i, s := range ss {
		vs[i] = types.String(s)
	}
	return types.NewSet(vs...)
}
