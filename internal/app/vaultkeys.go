package app

import (
	"context"

	"sallyport/internal/action"
	"sallyport/internal/fault"
	"sallyport/internal/vault"
)

// VaultKeys is the state of the vault's keys.
type VaultKeys struct {
	Root    string     `json:"root"` // where the root key lies: file, passphrase or keyring
	Rekeyed int        `json:"root_generation"`
	Epoch   uint32     `json:"epoch"`  // new record keys are wrapped in this one
	Oldest  uint32     `json:"oldest"` // the oldest that is not retired
	Epochs  []KeyEpoch `json:"epochs"`
	Failed  []string   `json:"failed,omitempty"` // of a rewrapping: items whose record key does not open
}

// KeyEpoch counts what depends on an epoch.
type KeyEpoch struct {
	Epoch uint32 `json:"epoch"`
	Keys  int    `json:"keys"`  // one per level and set of compartments
	Items int    `json:"items"` // whose record key is wrapped in it
}

// errNoVault says that nothing was sealed yet.
func errNoVault() error {
	return fault.New("app.vault", fault.NotFound, "there is no vault yet; `sallyport data put` makes it")
}

// VaultKeys gives the state of the vault's keys; nothing is opened.
func (a *App) VaultKeys(ctx context.Context) (VaultKeys, error) {
	st, ok, err := a.reader(ctx)
	if err != nil {
		return VaultKeys{}, err
	}
	if !ok {
		return VaultKeys{}, errNoVault()
	}
	return a.vaultKeys(ctx, st.Vault())
}

func (a *App) vaultKeys(ctx context.Context, book vault.Book) (VaultKeys, error) {
	state, err := book.State(ctx)
	if fault.Is(err, fault.NotFound) {
		return VaultKeys{}, errNoVault()
	}
	if err != nil {
		return VaultKeys{}, err
	}
	out := VaultKeys{Root: a.Config.Vault.Root, Rekeyed: int(state.Generation), Epoch: state.Epoch, Oldest: state.Oldest}
	keys, err := book.Keys(ctx)
	if err != nil {
		return VaultKeys{}, err
	}
	at := map[uint32]*KeyEpoch{}
	for e := state.Oldest; e <= state.Epoch; e++ {
		at[e] = &KeyEpoch{Epoch: e}
	}
	for _, k := range keys {
		if e := at[k.Epoch]; e != nil {
			e.Keys++
		}
	}
	err = eachBehind(ctx, book, state.Epoch, func(it vault.Item) {
		if e := at[it.Epoch]; e != nil {
			e.Items++
		}
	})
	if err != nil {
		return VaultKeys{}, err
	}
	all, err := countItems(ctx, book)
	if err != nil {
		return VaultKeys{}, err
	}
	for e := state.Oldest; e < state.Epoch; e++ {
		all -= at[e].Items
	}
	at[state.Epoch].Items = max(all, 0)
	for e := state.Oldest; e <= state.Epoch; e++ {
		out.Epochs = append(out.Epochs, *at[e])
	}
	return out, nil
}

func eachBehind(ctx context.Context, book vault.Book, epoch uint32, fn func(vault.Item)) error {
	after := ""
	for {
		page, err := book.Behind(ctx, epoch, after, objectPage)
		if err != nil {
			return err
		}
		for _, it := range page {
			after = it.ID
			fn(it)
		}
		if len(page) < objectPage {
			return nil
		}
	}
}

func countItems(ctx context.Context, book vault.Book) (n int, err error) {
	after := ""
	for {
		page, err := book.Items(ctx, after, objectPage)
		if err != nil {
			return n, err
		}
		if n += len(page); len(page) < objectPage {
			return n, nil
		}
		after = page[len(page)-1].ID
	}
}

// RotateKeys begins a new epoch: from now on record keys are wrapped in it.
func (a *App) RotateKeys(ctx context.Context) (VaultKeys, error) {
	return a.changeKeys(ctx, map[string]any{"rotate": true}, func(ctx context.Context, v *vault.Vault) ([]string, error) {
		_, err := v.Rotate(ctx)
		return nil, err
	})
}

// rewrapPage is how many record keys are wrapped anew in one step.
const rewrapPage = 256

// RewrapKeys wraps all record keys in the epoch in force. What does not open is
// passed over and named.
func (a *App) RewrapKeys(ctx context.Context) (VaultKeys, error) {
	return a.changeKeys(ctx, map[string]any{"rewrap": true}, func(ctx context.Context, v *vault.Vault) ([]string, error) {
		var failed []string
		after := ""
		for {
			r, err := v.Rewrap(ctx, after, rewrapPage)
			if err != nil || r.Done == 0 && len(r.Failed) == 0 {
				return failed, err
			}
			if failed = append(failed, r.Failed...); len(r.Failed) > 0 {
				after = r.Failed[len(r.Failed)-1]
			}
		}
	})
}

// RetireKeys destroys the keys of all epochs before oldest, 0 for the one in
// force: what backups hold of items erased since then opens nowhere any more
// once the backups that hold these keys are gone.
func (a *App) RetireKeys(ctx context.Context, oldest uint32) (VaultKeys, error) {
	return a.changeKeys(ctx, map[string]any{"retire_before": int64(oldest)}, func(ctx context.Context, v *vault.Vault) ([]string, error) {
		if oldest == 0 {
			st, err := v.State(ctx)
			if err != nil {
				return nil, err
			}
			oldest = st.Epoch
		}
		_, err := v.Retire(ctx, oldest)
		if fault.Is(err, fault.Conflict) {
			err = &fault.Error{
				Op: "app.vault", Kind: fault.Conflict, Err: err,
				Public: "an item is still sealed with a key of an epoch that would be retired, so none was; run `sallyport data keys rewrap` first",
			}
		}
		return nil, err
	})
}

// changeKeys passes a change of the vault's keys through the gate.
func (a *App) changeKeys(ctx context.Context, diff map[string]any, do func(context.Context, *vault.Vault) ([]string, error)) (out VaultKeys, err error) {
	st, ok, err := a.reader(ctx)
	if err != nil {
		return out, err
	}
	if !ok {
		return out, errNoVault()
	}
	room := &strongroom{app: a, book: st.Vault()}
	defer room.close()
	v, err := room.open(ctx, false)
	if err != nil {
		return out, err
	}
	var failed []string
	act := action.Action{Kind: action.ConfigChange, Target: "vault", Args: map[string]any{"diff": diff}}
	err = a.steer(ctx, act, func(ctx context.Context) (err error) {
		failed, err = do(ctx, v)
		return err
	})
	if err != nil {
		return out, err
	}
	out, err = a.vaultKeys(ctx, room.book)
	out.Failed = failed
	return out, err
}

// ItemFault is something wrong with an item.
type ItemFault struct {
	ID      string `json:"id"`
	Problem string `json:"problem"`
}

// CheckItems opens every item under its row and compares its version with the
// log's: an exchanged, relabelled or put-back row is a fault. What was opened is
// shown to nobody.
func (a *App) CheckItems(ctx context.Context) (checked int, faults []ItemFault, err error) {
	st, ok, err := a.reader(ctx)
	if err != nil || !ok {
		return 0, nil, err
	}
	d := newDesk(a, st)
	defer d.close()
	if _, err := d.room.book.State(ctx); fault.Is(err, fault.NotFound) {
		return 0, nil, nil
	}
	if _, err := d.room.open(ctx, false); err != nil {
		return 0, nil, err
	}
	seen, who := map[string]bool{}, a.theOperator(ctx)
	objects, err := d.all(ctx)
	if err != nil {
		return 0, nil, err
	}
	for _, o := range objects {
		seen[o.ID] = true
		data, err := d.open(ctx, who, o)
		clear(data)
		if checked++; err != nil {
			if ctx.Err() != nil {
				return checked, faults, fault.Wrap("app.check", fault.Canceled, ctx.Err())
			}
			faults = append(faults, ItemFault{o.ID, fault.PublicText(err)})
		}
	}
	after := ""
	for {
		page, err := d.room.book.Items(ctx, after, objectPage)
		if err != nil {
			return checked, faults, err
		}
		for _, r := range page {
			if after = r.ID; !seen[r.ID] && !isMemory(r.ID) {
				faults = append(faults, ItemFault{r.ID, "it is sealed and no record describes it: erase it with `sallyport data erase` and put it again"})
			}
		}
		if len(page) < objectPage {
			return checked, faults, nil
		}
	}
}
