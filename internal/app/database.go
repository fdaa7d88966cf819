package app

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"sallyport/internal/audit"
	"sallyport/internal/config"
	"sallyport/internal/fault"
	"sallyport/internal/scan/mask"
	"sallyport/internal/store"
)

// database is the store with the log's keys, opened when first needed.
type database struct {
	paths Paths
	cfg   *config.Config
	env   []string   // for git, when log.anchor names a repository
	mask  lazyMasker // of what is stored

	mu     sync.Mutex
	store  *store.Store
	signer *audit.Signer
	pushes *anchoring
}

func newDatabase(p Paths, cfg *config.Config, env []string, vars *config.Env) *database {
	return &database{paths: p, cfg: cfg, env: env, mask: newLazyMasker(cfg, vars)}
}

// Store opens the state directory's database, making it and the log's keys
// when they do not exist. It stays open until Close.
func (a *App) Store(ctx context.Context) (*store.Store, error) {
	if err := makeHome(a.Paths.Home); err != nil {
		return nil, err
	}
	a.lazy.mu.Lock()
	defer a.lazy.mu.Unlock()
	return a.lazy.open(ctx)
}

// reader opens the database for questions; ok is false, and nothing is made,
// when there is none yet.
func (a *App) reader(ctx context.Context) (s *store.Store, ok bool, err error) {
	if _, err := os.Stat(a.Paths.Database); errors.Is(err, fs.ErrNotExist) {
		return nil, false, nil
	}
	s, err = a.Store(ctx)
	return s, err == nil, err
}

// Signer gives the log's keys; Store must have been called before.
func (a *App) Signer() *audit.Signer {
	a.lazy.mu.Lock()
	defer a.lazy.mu.Unlock()
	return a.lazy.signer
}

// lazyMasker makes the masker when the first value is stored: it takes longer
// than most commands that only read.
type lazyMasker struct {
	get func() (*mask.Masker, error)
}

func newLazyMasker(cfg *config.Config, env *config.Env) lazyMasker {
	return lazyMasker{sync.OnceValues(func() (*mask.Masker, error) { return newMasker(cfg, env) })}
}

// value implements store.Options.Mask. What starts agents refuses when there is
// no masker; whatever else writes then keeps nothing that should be hidden.
func (l lazyMasker) value(v any) any {
	m, err := l.get()
	switch {
	case err != nil:
		if _, text := v.(string); text {
			return "[masked]"
		}
		return map[string]any{"omitted": "data_masking is wrong, so nothing was kept; run `sallyport config check`"}
	case m == nil:
		return v
	}
	return m.Value(v)
}

func (d *database) open(ctx context.Context) (*store.Store, error) {
	if d.store != nil {
		return d.store, nil
	}
	signer, err := openKeys(ctx, d.paths.Keys)
	if err != nil {
		return nil, err
	}
	if err := keepNames(d.paths.Keys, d.cfg); err != nil {
		return nil, err
	}
	seal, err := openAskSealer(d.paths.Keys, signer.Origin())
	if err != nil {
		return nil, err
	}
	pushes, err := newAnchoring(d.cfg.Log.Anchor, d.env)
	if err != nil {
		return nil, err
	}
	st, err := store.Open(ctx, store.Options{
		Mask: d.mask.value, Sealer: seal,
		Dir: d.paths.Home, Tree: signer, Instance: signer.Origin(), ReadOnly: d.cfg.ReadOnlyMode, OnCheckpoint: pushes.offer,
	})
	if err != nil {
		pushes.stop()
		return nil, err
	}
	pushes.store.Store(st)
	d.store, d.signer, d.pushes = st, signer, pushes
	return st, nil
}

func (d *database) close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.store == nil {
		return nil
	}
	d.pushes.stop() // first: it may write events
	err := d.store.Close()
	d.store = nil
	return err
}

// openKeys opens the log's keys. Two processes may start in a new state
// directory at the same time: who loses the race reads what the other made.
func openKeys(ctx context.Context, dir string) (*audit.Signer, error) {
	id, err := instanceID(dir)
	if err != nil {
		return nil, err
	}
	for try := 0; ; try++ {
		s, err := audit.OpenKeys(dir, id)
		if err == nil || try == 20 || fault.KindOf(err) != fault.Internal {
			return s, err
		}
		select {
		case <-ctx.Done():
			return nil, fault.Wrap("app.keys", fault.Canceled, ctx.Err())
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// instanceID reads the installation's random name and makes it the first time.
func instanceID(dir string) (string, error) {
	const op = "app.instance"
	path := filepath.Join(dir, "instance")
	if b, err := os.ReadFile(path); err == nil {
		return checkInstance(string(b))
	} else if !errors.Is(err, fs.ErrNotExist) {
		return "", fault.Wrap(op, fault.Unavailable, err)
	}
	tmp, err := os.CreateTemp(dir, ".instance-*") // mode 0600
	if err != nil {
		return "", fault.Wrap(op, fault.Unavailable, err)
	}
	_, err = tmp.WriteString(newInstance() + "\n")
	err = errors.Join(err, tmp.Sync(), tmp.Close())
	if err == nil {
		// A link appears whole and only if the name is free.
		if err = os.Link(tmp.Name(), path); errors.Is(err, fs.ErrExist) {
			err = nil
		}
	}
	if err = errors.Join(err, os.Remove(tmp.Name())); err != nil {
		return "", fault.Wrap(op, fault.Unavailable, err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return "", fault.Wrap(op, fault.Unavailable, err)
	}
	return checkInstance(string(b))
}
