package store

import (
	"sallyport/internal/fault"
	"sallyport/internal/record"
)

// spendBits takes the bits that an action extracts from its context's budget,
// and those that a new context begins with from its parent's (rule R7). They are
// never made of nothing: only the operator begins a budget, by a context without
// a parent; an agent gives of its own. The revision does not move, since this is
// checked here.
func (t *tx) spendBits(in record.Intent) error {
	if in.Bits < 0 || in.Fork != nil && in.Fork.Bits < 0 {
		return fault.New("store.intend", fault.Internal, "a number of bits is not negative")
	}
	if err := t.takeBits(in, in.Action.Context, in.Bits); err != nil {
		return err
	}
	f := in.Fork
	if f == nil || f.Parent == "" && in.Action.Agent == "" {
		return nil
	}
	if f.Bits > 0 && in.Action.Agent != "" && f.Parent != in.Action.Context {
		return t.refuse(in, fault.Denied, "R7", "a context gives of its own bits only: spawn without bits, or from the context that has them")
	}
	return t.takeBits(in, f.Parent, f.Bits)
}

func (t *tx) takeBits(in record.Intent, contextID string, bits int) error {
	if bits == 0 {
		return nil
	}
	res, err := t.exec(`UPDATE contexts SET bits = bits - ?1 WHERE id=?2 AND bits >= ?1`, bits, contextID)
	if err != nil {
		return err
	}
	if n, err := res.RowsAffected(); err != nil || n > 0 {
		return err
	}
	return t.refuse(in, fault.Denied, "R7", "the context has less than the %d bits left that this takes of what it may extract from foreign data: read the item instead, or start a new run", bits)
}
