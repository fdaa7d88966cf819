package store

import (
	"context"
	"errors"
	"time"

	"sallyport/internal/fault"
	"sallyport/internal/record"
)

const selectInstruction = `SELECT id, reader, type, text, label, ceiling, digest, created, expires, taken FROM instructions `

// PutInstruction stores a signed instruction that nobody has taken; a zero
// Created is now. Whether its signatures count is for the approval room to say,
// each time it is read. fault.Conflict if its id was used.
func (s *Store) PutInstruction(ctx context.Context, i record.Instruction) error {
	const name = "store.putInstruction"
	if i.ID == "" || i.To == "" || i.Expires.IsZero() || !i.Label.Valid() || !i.Ceiling.Valid() {
		return fault.New(name, fault.Internal, "an instruction has an id, a recipient, labels and an expiry")
	}
	err := s.do(ctx, name, func(t *tx) error {
		created := i.Created.UnixMicro()
		if i.Created.IsZero() {
			created = t.now()
		}
		res, err := t.exec(`INSERT OR IGNORE INTO instructions (id, reader, type, text, label, ceiling, digest, created, expires) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`,
			i.ID, i.To, i.Type, s.sealed(i.Text, !s.Clears(i.Label)), i.Label.String(), i.Ceiling.String(), i.Digest, created, i.Expires.UnixMicro())
		return inserted(res, err, fault.New(name, fault.Conflict, "there is an instruction %s already", i.ID))
	})
	return s.explain(name, err)
}

// Instructions gives an agent's instructions, or everybody's for the empty one,
// oldest first: those that can still be taken, or all there ever were.
func (s *Store) Instructions(ctx context.Context, to string, all bool) ([]record.Instruction, error) {
	const name = "store.instructions"
	var out []record.Instruction
	err := s.each(ctx, name, selectInstruction+`WHERE (?1 = '' OR reader = ?1) AND (?2 OR taken = 0 AND expires > ?3) ORDER BY n`,
		[]any{to, all, s.opt.Now().UnixMicro()}, func(scan func(...any) error) error {
			var i record.Instruction
			var l, ceiling string
			var created, expires, taken int64
			if err := scan(&i.ID, &i.To, &i.Type, &i.Text, &l, &ceiling, &i.Digest, &created, &expires, &taken); err != nil {
				return err
			}
			var err1, err2 error
			i.Label, err1 = storedLabel(name, l)
			i.Ceiling, err2 = storedLabel(name, ceiling)
			i.Text = s.unsealed(i.Text)
			i.Created, i.Expires = time.UnixMicro(created).UTC(), time.UnixMicro(expires).UTC()
			if taken != 0 {
				i.Taken = time.UnixMicro(taken).UTC()
			}
			out = append(out, i)
			return errors.Join(err1, err2)
		})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// takeInstruction uses up the instruction that a new context carries out. All
// refusals read alike: who asks must not learn what is there for others.
func (t *tx) takeInstruction(in record.Intent) error {
	id := in.Fork.Instruction
	if id == "" {
		return nil
	}
	res, err := t.exec(`UPDATE instructions SET taken=?1 WHERE id=?2 AND reader=?3 AND taken=0 AND expires > ?1`, t.now(), id, in.Action.Target)
	if err != nil {
		return err
	}
	if n, err := res.RowsAffected(); err != nil || n > 0 {
		return err
	}
	rule, err := t.untakeable(id, in.Action.Target)
	if err != nil {
		return err
	}
	return t.refuse(in, fault.Denied, rule, "no instruction of that id waits for this agent: an instruction is carried out once, by the agent it is for and before it expires; ask for a new one")
}

// untakeable names the rule by which an instruction cannot be taken.
func (t *tx) untakeable(id, agent string) (string, error) {
	rule := "instruction.unknown"
	err := t.each(func(scan func(...any) error) error {
		var reader string
		var taken int64
		err := scan(&reader, &taken)
		switch {
		case reader != agent:
			rule = "instruction.other"
		case taken != 0:
			rule = "instruction.taken"
		default:
			rule = "instruction.expired"
		}
		return err
	}, `SELECT reader, taken FROM instructions WHERE id=?`, id)
	return rule, err
}
