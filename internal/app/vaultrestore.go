package app

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"sallyport/internal/fault"
	"sallyport/internal/record"
	"sallyport/internal/vault"
)

// RestoreResult says what was restored and proved.
type RestoreResult struct {
	Home     string      `json:"home"`
	Instance string      `json:"instance"`
	Files    int         `json:"files"`
	Entries  int64       `json:"entries"` // of the log, all verified
	Items    int         `json:"items"`   // all opened
	Faults   []ItemFault `json:"faults,omitempty"`
}

// Restore unpacks a backup beside the state directory o names, proves its log
// and opens its vault, and only then gives it its place, which must be free. A
// root key that was in the backup is replaced by a new one, in a new epoch.
func Restore(ctx context.Context, o Options, file string, s Secret) (res RestoreResult, err error) {
	const op = "app.restore"
	home, err := stateHome(o.Home, o.Environ)
	if err != nil {
		return res, err
	}
	if err := free(home); err != nil {
		return res, err
	}
	in, err := os.Open(file)
	if err != nil {
		return res, notFound(op, file, err)
	}
	defer in.Close() //nolint:errcheck // read only
	id, err := identityOf(ctx, o, s)
	if err != nil {
		return res, err
	}
	if err := os.MkdirAll(filepath.Dir(home), 0o700); err != nil {
		return res, fault.Wrap(op, fault.Unavailable, err)
	}
	dir, err := os.MkdirTemp(filepath.Dir(home), ".sallyport-restore-*") // mode 0700
	if err != nil {
		return res, fault.Wrap(op, fault.Unavailable, err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	sealed, err := vault.OpenSealed(in, id)
	if err != nil {
		return res, err
	}
	got, err := unpack(ctx, sealed, dir)
	if err != nil {
		return res, err
	}
	res = RestoreResult{Home: home, Instance: got.manifest.Instance, Files: got.files}
	if err := prove(ctx, o, dir, got, id, &res); err != nil {
		return res, err
	}
	if err := os.Rename(dir, home); err != nil { // an empty directory is replaced
		return res, &fault.Error{Op: op, Kind: fault.Conflict, Err: err, Public: home + " appeared meanwhile, so nothing was restored; move it away"}
	}
	return res, nil
}

// free refuses a place where something is.
func free(home string) error {
	entries, err := os.ReadDir(home)
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(entries) == 0 {
		return nil
	}
	return &fault.Error{
		Op: "app.restore", Kind: fault.Conflict, Err: err,
		Public: home + " is not empty, and a backup never replaces what is there; move it away, or name another directory with --home",
	}
}

func identityOf(ctx context.Context, o Options, s Secret) (vault.Identity, error) {
	if len(s.Identity) > 0 {
		return vault.ParseIdentity(s.Identity)
	}
	lookup := func(name string) (string, bool) {
		for _, kv := range o.Environ {
			if v, ok := strings.CutPrefix(kv, name+"="); ok {
				return v, true
			}
		}
		return "", false
	}
	pass, err := newUnlocker(backupPassVar, lookup).passphrase(ctx, "Passphrase of the backup: ", false)
	if err != nil {
		return vault.Identity{}, err
	}
	defer clear(pass)
	return vault.PassphraseIdentity(pass)
}

// unpacked is what an archive held beside files.
type unpacked struct {
	manifest manifest
	root     []byte // sealed, nil for none
	files    int
}

// maxPart bounds what is read into memory of an archive, in bytes.
const maxPart = 64 << 10

// unpack writes an archive's files below dir and nowhere else.
func unpack(ctx context.Context, r io.Reader, dir string) (out unpacked, err error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return out, fault.Wrap("app.restore", fault.Unavailable, err)
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	t := tar.NewReader(reading{ctx, r})
	for {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			// The archive's end is not the sealed file's: that one says that
			// nothing was cut off.
			if _, err := io.Copy(io.Discard, reading{ctx, r}); err != nil {
				return out, errDamaged(err)
			}
			return out, out.complete()
		}
		if err != nil {
			return out, errDamaged(err)
		}
		if err := out.take(root, h, t); err != nil {
			return out, err
		}
	}
}

func errDamaged(err error) error {
	if fault.Is(err, fault.Canceled) {
		return err
	}
	return &fault.Error{Op: "app.restore", Kind: fault.Corrupt, Err: err, Public: "the backup is cut short, altered or no backup; fetch it again"}
}

func (u *unpacked) complete() error {
	if u.manifest.Form != backupForm || u.files == 0 {
		return errDamaged(errors.New("it lacks its manifest or its files"))
	}
	_, err := checkInstance(u.manifest.Instance)
	return err
}

// take writes one entry.
func (u *unpacked) take(root *os.Root, h *tar.Header, r io.Reader) error {
	small := func() ([]byte, error) {
		b, err := io.ReadAll(io.LimitReader(r, maxPart))
		if err != nil {
			return nil, errDamaged(err)
		}
		return b, nil
	}
	switch h.Name {
	case backupManifest:
		b, err := small()
		if err == nil && json.Unmarshal(b, &u.manifest) != nil {
			err = errDamaged(errors.New("its manifest is no JSON"))
		}
		return err
	case backupRoot:
		var err error
		u.root, err = small()
		return err
	case backupDatabase:
		return u.write(root, backupDatabase, 0o600, r)
	}
	rel, ok := strings.CutPrefix(h.Name, backupHome)
	if rel = filepath.FromSlash(strings.TrimSuffix(rel, "/")); !ok || !filepath.IsLocal(rel) {
		return errDamaged(errors.New("it names a place outside of the state directory"))
	}
	mode := fs.FileMode(h.Mode) & fs.ModePerm //nolint:gosec // G115: masked
	switch h.Typeflag {
	case tar.TypeReg:
		return u.write(root, rel, mode, r)
	case tar.TypeDir:
		// Writable while it is filled; its owner may do what he likes anyway.
		return fault.Wrap("app.restore", fault.Unavailable, errors.Join(root.MkdirAll(rel, 0o700), root.Chmod(rel, mode|0o700)))
	case tar.TypeSymlink:
		return fault.Wrap("app.restore", fault.Unavailable, root.Symlink(h.Linkname, rel))
	}
	return errDamaged(errors.New("it holds what is no file"))
}

func (u *unpacked) write(root *os.Root, rel string, mode fs.FileMode, r io.Reader) error {
	const op = "app.restore"
	if err := root.MkdirAll(filepath.Dir(rel), 0o700); err != nil {
		return fault.Wrap(op, fault.Unavailable, err)
	}
	f, err := root.OpenFile(rel, os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode|0o200)
	if err != nil {
		return fault.Wrap(op, fault.Unavailable, err)
	}
	_, err = io.Copy(f, r)
	if serr := f.Sync(); err == nil {
		err = serr
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		if fault.Is(err, fault.Canceled) {
			return err
		}
		return errDamaged(err)
	}
	u.files++
	return nil
}

// prove opens what was unpacked: its log must verify and its vault must open.
func prove(ctx context.Context, o Options, dir string, got unpacked, id vault.Identity, res *RestoreResult) (err error) {
	o.Home, o.Config = dir, ""
	a, err := Open(ctx, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, a.Close()) }()
	st, err := a.Store(ctx)
	if err != nil {
		return err
	}
	if a.Signer().Origin() != got.manifest.Instance {
		return errDamaged(errors.New("its keys are of another instance than its manifest says"))
	}
	log, err := a.VerifyLog(ctx, VerifyOptions{})
	if err != nil {
		return err
	}
	res.Entries = log.Entries
	if got.root != nil {
		if err := a.renewRoot(ctx, got.root, id); err != nil {
			return err
		}
	}
	if res.Items, res.Faults, err = a.CheckItems(ctx); err != nil {
		return err
	}
	_, err = st.Append(ctx, record.Event{Type: "state.restored", Data: map[string]any{"files": got.files, "entries": log.Entries, "items": res.Items}})
	return err
}

// renewRoot makes a new root key where vault.root says, and replaces the
// backup's by it.
func (a *App) renewRoot(ctx context.Context, sealed []byte, id vault.Identity) (err error) {
	var next vault.Root
	if a.Config.Vault.Root == "keyring" {
		next, err = vault.CreateRootInKeyring(ctx, a.keyringEntry(), a.Env.Lookup)
	} else {
		next, err = vault.CreateRootFile(a.rootPath())
	}
	if err != nil {
		return err
	}
	defer next.Wipe()
	st, err := a.Store(ctx)
	if err != nil {
		return err
	}
	room := &strongroom{app: a, book: st.Vault()}
	v, err := vault.Restore(ctx, room.config(vault.Root{}), bytes.NewReader(sealed), id, next)
	if err != nil {
		return err
	}
	v.Close()
	return nil
}
