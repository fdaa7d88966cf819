package policy_test

import (
	"context"
	"slices"
	"strings"
	"time"

	"sallyport/internal/fault"
	"sallyport/internal/gate"
	"sallyport/internal/label"
	"sallyport/internal/record"
)

// book is what keeps labels, nonces and grants: the store, or memory.
type book interface {
	gate.Ledger
	PutGrant(ctx context.Context, g record.Grant, by string) (string, error)
	Revoke(ctx context.Context, id, by string) error
}

// memory is a book without a disk, for many steps.
type memory struct {
	now      func() time.Time
	contexts map[string]*record.Fork
	grants   []*record.Grant // Uses -1 is no limit, 0 used up
	nonces   map[string]bool
	rev, id  int64
}

func (m *memory) Snapshot(_ context.Context, s record.Scope) (record.Snapshot, error) {
	out := record.Snapshot{Revision: m.rev, Context: label.Unlabelled, Ceiling: open}
	if c, ok := m.contexts[s.Context]; ok {
		out.Context, out.Ceiling, out.Bits = c.Label, c.Ceiling, c.Bits
	} else if s.Context == "" && s.Agent == "" {
		out.Context, out.Ceiling = label.Bottom, label.Unlabelled
	}
	for _, g := range m.grants {
		if g.Agent == s.Agent && m.live(g.ID) {
			seen := *g
			seen.Uses = max(seen.Uses, 0)
			out.Grants = append(out.Grants, seen)
		}
	}
	return out, nil
}

func (m *memory) grant(id string) *record.Grant {
	for _, g := range m.grants {
		if g.ID == id {
			return g
		}
	}
	return nil
}

func (m *memory) live(id string) bool {
	for g := m.grant(id); g != nil; g = m.grant(g.Parent) {
		if g.Revoked || g.Uses == 0 || !m.now().Before(g.Expires) {
			return false
		}
	}
	return true
}

func (m *memory) Intend(_ context.Context, in record.Intent) (record.Receipt, error) {
	m.id++
	receipt := record.Receipt{ID: m.id}
	if in.Decision.Verdict != record.Allow {
		return receipt, nil
	}
	if c, ok := m.contexts[in.Action.Context]; in.Bits > 0 && (!ok || c.Bits < in.Bits) {
		return record.Receipt{}, fault.New("memory", fault.Denied, "the context has too few bits")
	}
	if in.Revision != m.rev {
		return record.Receipt{}, fault.New("memory", fault.Conflict, "moved")
	}
	for _, a := range in.Approvals {
		if m.nonces[a.Nonce] || !m.now().Before(a.Expires) {
			return record.Receipt{}, fault.New("memory", fault.Denied, "the approval is used or expired")
		}
		m.nonces[a.Nonce] = true
	}
	for g := m.grant(in.Grant); g != nil; g = m.grant(g.Parent) {
		if g.Uses > 0 {
			g.Uses--
		}
	}
	if c, ok := m.contexts[in.Action.Context]; ok {
		c.Label = c.Label.Join(in.Decision.ResultLabel)
		c.Bits -= in.Bits
	}
	if in.Fork != nil {
		y := *in.Fork
		if parent, ok := m.contexts[y.Parent]; ok {
			parent.Bits -= y.Bits
		}
		m.contexts[y.Context] = &y
	}
	m.rev++
	return receipt, nil
}

func (m *memory) Settle(context.Context, record.Outcome) error { return nil }

func (m *memory) PutGrant(_ context.Context, g record.Grant, _ string) (string, error) {
	if g.Parent != "" {
		parent := *m.grant(g.Parent)
		parent.Revoked = parent.Revoked || parent.Uses == 0
		parent.Uses = max(parent.Uses, 0)
		if !g.Within(parent) {
			return "", fault.New("memory", fault.Denied, "wider than its parent")
		}
	}
	if g.Uses == 0 {
		g.Uses = -1
	}
	m.grants, m.rev = append(m.grants, &g), m.rev+1
	slices.SortFunc(m.grants, func(a, b *record.Grant) int { return strings.Compare(a.ID, b.ID) })
	return g.ID, nil
}

func (m *memory) Revoke(_ context.Context, id, _ string) error {
	m.grant(id).Revoked = true
	m.rev++
	return nil
}
