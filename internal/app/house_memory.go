package app

import (
	"context"
	"errors"
	"strings"

	"sallyport/internal/agent"
	"sallyport/internal/fault"
	"sallyport/internal/label"
	"sallyport/internal/vault"
)

// memory keeps agents' session notes in slots with fixed labels. A note of a
// slot that is not clear is sealed in the vault, and the slot holds its id.
type memory struct{ e *engine }

var _ agent.Notes = memory{}

// memoryItem begins the ids of sealed notes: no item can be named so.
const memoryItem = "~memory"

// isMemory tells the ids of sealed notes: a slot describes them, no object does.
func isMemory(id string) bool { return strings.HasPrefix(id, memoryItem+"-") }

// Memory implements agent.Notes.
func (m memory) Memory(ctx context.Context, name string, slot label.Label) (string, bool, error) {
	text, found, err := m.e.store.Memory(ctx, name, slot)
	if err != nil || !found || m.e.store.Clears(slot) {
		return text, found, err
	}
	v, err := m.e.desk.room.open(ctx, false)
	if err != nil {
		return "", false, err
	}
	note, ref, err := v.Get(ctx, m.e.app.theOperator(ctx), text, 1)
	if err == nil && ref.Label != slot {
		err = errors.New("it is sealed with another label")
	}
	if err != nil {
		return "", false, &fault.Error{
			Op: "app.memory", Kind: fault.Corrupt, Err: err,
			Public: "the session note of " + name + " is not the one that was sealed; restore a backup, or give the agent another memory label to begin without",
		}
	}
	return string(note), true, nil
}

// SaveMemory implements agent.Notes.
func (m memory) SaveMemory(ctx context.Context, name, note string, from, slot label.Label) error {
	if m.e.store.Clears(slot) || !from.FlowsTo(slot) { // which the store refuses
		return m.e.store.SaveMemory(ctx, name, note, from, slot)
	}
	v, err := m.e.desk.room.open(ctx, true)
	if err != nil {
		return err
	}
	old, found, err := m.e.store.Memory(ctx, name, slot)
	if err != nil {
		return err
	}
	ref, err := v.Put(ctx, m.e.app.theOperator(ctx), vault.Ref{ID: newHandle(memoryItem), Label: slot}, []byte(note))
	if err != nil {
		return err
	}
	if err := m.e.store.SaveMemory(ctx, name, ref.ID, from, slot); err != nil || !found {
		return err
	}
	return v.Erase(ctx, m.e.app.theOperator(ctx), old, 1)
}
