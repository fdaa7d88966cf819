package app

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"regexp"
	"strings"
	"sync"

	"sallyport/internal/action"
	"sallyport/internal/fault"
	"sallyport/internal/gate"
	"sallyport/internal/label"
	"sallyport/internal/principal"
	"sallyport/internal/record"
	"sallyport/internal/store"
	"sallyport/internal/vault"
)

// desk performs what is done with classified items and mail, and looks up what
// actions only name. Agents reach it through the gate alone.
type desk struct {
	app     *App
	rows    *store.Store
	room    *strongroom
	futures *futures
	trail   trail

	// openFolder performs data.read of folder/NAME in a running session; nil
	// where there are no sessions.
	openFolder func(ctx context.Context, a action.Action, l label.Label) (record.Result, error)
}

func newDesk(a *App, st *store.Store) *desk {
	return &desk{app: a, rows: st, room: &strongroom{app: a, book: st.Vault()}, futures: newFutures(), trail: trail{rows: st}}
}

// unlock asks for the vault's passphrase before the agents of an organisation
// run: later the terminal is theirs. Without a terminal, who needs an item is
// told.
func (d *desk) unlock(ctx context.Context, agents bool) error {
	if !agents || d.app.Config.Vault.Root != "passphrase" || len(d.app.Config.Organisation.Tiers) == 0 {
		return nil
	}
	_, err := d.room.open(ctx, false)
	if fault.Is(err, fault.NotFound) || fault.Is(err, fault.Unavailable) {
		return nil
	}
	return err
}

func (d *desk) close() { d.room.close() }

// performer is an executor made of a method: p tells the label of what comes of
// the action.
type performer func(ctx context.Context, a action.Action, p *gate.Permit) (record.Result, error)

// Perform implements gate.Executor.
func (f performer) Perform(ctx context.Context, p *gate.Permit) (record.Result, error) {
	a, err := p.Take()
	if err != nil {
		return record.Result{}, err
	}
	return f(ctx, a, p)
}

// executors are what the desk performs.
func (d *desk) executors() map[action.Kind]gate.Executor {
	return map[action.Kind]gate.Executor{
		action.DataRead: performer(d.read), action.DataWrite: performer(d.write), action.DataLower: performer(d.lower),
		action.DataErase: performer(d.erase), action.DataHold: performer(d.hold), action.DataExtract: performer(d.extract),
		action.MessageSend: performer(d.send),
	}
}

// The references that are no item.
const (
	refIndex     = "index"
	refNew       = "new"
	mailPrefix   = "mail/"
	folderPrefix = "folder/"
)

// Forms of names, made when they are asked for: a program that starts, and the
// stage of each sandbox is one, should not wait for them.
var (
	handleForm = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[omf]-[0-9a-f]{20}$`) })
	nameForm   = sync.OnceValue(func() *regexp.Regexp {
		return regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}(/[A-Za-z0-9][A-Za-z0-9._-]{0,63}){0,3}$`)
	})
)

func isHandle(kind, ref string) bool {
	return handleForm().MatchString(ref) && ref[:1] == kind
}

// checkName refuses what the operator may not call an item: a name that could be
// taken for a handle, a list or a folder, or for another name.
func checkName(name string) error {
	head, _, _ := strings.Cut(name, "/")
	if !nameForm().MatchString(name) || handleForm().MatchString(name) || head == refIndex || head == refNew || head == "mail" || head == "folder" {
		return fault.New("app.item", fault.Usage,
			"%q is no name of an item: up to four parts of letters, digits, '.', '_' and '-' parted by '/', the first not index, new, mail or folder, and no handle; choose another", clipped(name))
	}
	return nil
}

// clipped shortens what somebody typed for a sentence.
func clipped(s string) string {
	if len(s) > 80 {
		return strings.ToValidUTF8(s[:80], "") + "..."
	}
	return s
}

// readerOf is who reads for an action: the agent, also where the operator types
// in its place, else the principal.
func readerOf(a action.Action) principal.Principal {
	if a.Agent != "" {
		return principal.ForAgent(a.Agent)
	}
	return a.Principal
}

// authorOf names who makes something by an action.
func authorOf(a action.Action) string {
	if a.Agent != "" {
		return a.Agent
	}
	return a.Principal.Name
}

// operators tells an action of the operator's own.
func operators(a action.Action) bool {
	return a.Agent == "" && a.Principal.Kind == principal.Operator
}

// errAbsent is the one answer about what is not there and what is not for the
// reader: it must not tell which.
func errAbsent(ref string) error {
	return fault.New("app.item", fault.NotFound, "there is no item %q for you; `index` lists what there is", clipped(ref))
}

func errMoved(ref string) error {
	return fault.New("app.item", fault.Conflict, "the item %q changed between the decision and the deed, so nothing was done; try again", clipped(ref))
}

// bodyOf gives the bytes of an action that its arguments name: what was decided
// and signed is what is stored.
func bodyOf(a action.Action, most int) ([]byte, error) {
	const op = "app.body"
	n, ok := a.Args["bytes"].(int64)
	if !ok || n != int64(len(a.Body)) {
		return nil, fault.New(op, fault.Denied, "the content has %d bytes and the action names %v, so nothing was stored; ask again with what is meant", len(a.Body), a.Args["bytes"])
	}
	if len(a.Body) > most {
		return nil, fault.New(op, fault.Usage, "the content has %d bytes and at most %d are taken; split it", len(a.Body), most)
	}
	if sum := sha256.Sum256(a.Body); hex.EncodeToString(sum[:]) != a.Arg("sha256") {
		return nil, fault.New(op, fault.Denied, "the content is not what the action's sha256 names, so nothing was stored; ask again with what is meant")
	}
	return a.Body, nil
}

// decided gives the version that the action names.
func decided(a action.Action) uint64 {
	v, _ := a.Args["version"].(int64)
	return uint64(max(v, 0))
}

// object gives an item's row as it was decided about: an item that is not
// there, or changed meanwhile, is an error.
func (d *desk) object(ctx context.Context, a action.Action) (record.Object, error) {
	ref := a.Arg("item")
	if ref == "" || ref != a.Target {
		return record.Object{}, fault.New("app.item", fault.Denied, "the action's target is not its item, so nothing was done; name one item")
	}
	o, err := d.row(ctx, a, ref)
	if fault.Is(err, fault.NotFound) {
		return o, errAbsent(ref)
	}
	if err != nil {
		return o, err
	}
	if o.Version != decided(a) || o.Label != a.ArgLabels["item"] {
		return o, errMoved(ref)
	}
	return o, nil
}

// row gives what is known of an item. The operator erases also one of which
// nothing is known but that it is sealed.
func (d *desk) row(ctx context.Context, a action.Action, id string) (record.Object, error) {
	o, err := d.rows.Object(ctx, id)
	if !fault.Is(err, fault.NotFound) || a.Kind != action.DataErase || !operators(a) || isMemory(id) {
		return o, err
	}
	it, err := d.room.book.Item(ctx, id)
	return record.Object{ID: id, Version: it.Version, Label: it.Label, Made: it.Label, Held: it.Held}, err
}

// open gives an item's bytes as its row describes them. The sealed row must have
// the very version and label: a row that was put back, or another's in its
// place, is noticed here or does not open.
func (d *desk) open(ctx context.Context, who principal.Principal, o record.Object) ([]byte, error) {
	v, err := d.room.open(ctx, false)
	if err != nil {
		return nil, err
	}
	if err := d.trail.check(ctx, o); err != nil {
		return nil, err
	}
	data, ref, err := v.Get(ctx, who, o.ID, o.Version)
	if fault.Is(err, fault.Conflict) || fault.Is(err, fault.NotFound) || err == nil && ref.Label != o.Label {
		clear(data)
		return nil, errBack(o.ID, err)
	}
	return data, err
}

func errBack(id string, err error) error {
	return &fault.Error{
		Op: "app.item", Kind: fault.Corrupt, Err: err,
		Public: "the sealed row of the item " + id + " is not the version that its record names: it was put back or exchanged; run `sallyport data check` and restore a backup",
	}
}

// sealNew seals an item that did not exist before and makes its row.
func (d *desk) sealNew(ctx context.Context, who principal.Principal, o record.Object, data []byte) (record.Object, error) {
	return d.sealWith(ctx, who, store.Beside{Object: o}, data)
}

// sealWith seals an item that did not exist before, with what is stored beside
// it.
func (d *desk) sealWith(ctx context.Context, who principal.Principal, b store.Beside, data []byte) (record.Object, error) {
	o := b.Object
	v, err := d.room.open(ctx, true)
	if err != nil {
		return o, err
	}
	ref, err := v.Put(store.WithBeside(ctx, b), who, vault.Ref{ID: o.ID, Label: o.Label}, data)
	o.Version = ref.Version
	return o, err
}
