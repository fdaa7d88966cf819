package app

import (
	"archive/tar"
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"sallyport/internal/fault"
	"sallyport/internal/vault"
)

// A backup is an age file of a tar archive, in this order:
//
//	backup.json        what it is
//	state.db           a consistent copy of the database
//	vault.root.age     the root key, sealed to the same recipients, if it lies in the clear or in a keyring
//	home/…             every other file of the state directory
const (
	backupForm     = "sallyport backup 1"
	backupManifest = "backup.json"
	backupDatabase = "state.db"
	backupRoot     = "vault.root.age"
	backupHome     = "home/"
)

// manifest says what a backup is.
type manifest struct {
	Form     string    `json:"form"`
	Instance string    `json:"instance"`
	Created  time.Time `json:"created"`
}

// BackupResult says what a backup holds.
type BackupResult struct {
	File     string   `json:"file"`
	Instance string   `json:"instance"`
	Files    int      `json:"files"`
	Bytes    int64    `json:"bytes"` // of the sealed file
	Skipped  []string `json:"skipped,omitempty"`
}

// Secret is how a backup is sealed or opened: by age keys, else by a passphrase,
// which is asked for.
type Secret struct {
	Recipients []string // to seal
	Identity   []byte   // to open: the text of an age identity
}

func (a *App) recipients(ctx context.Context, s Secret) ([]vault.Recipient, error) {
	if len(s.Recipients) > 0 {
		return recipientsOf(s.Recipients)
	}
	pass, err := newUnlocker(backupPassVar, a.Env.Lookup).passphrase(ctx, "New passphrase of the backup, at least 12 characters: ", true)
	if err != nil {
		return nil, err
	}
	defer clear(pass)
	r, err := vault.PassphraseRecipient(pass)
	return []vault.Recipient{r}, err
}

// Backup writes the whole state directory, keys included, sealed, to a new file.
// Nothing appears under its name before it is whole.
func (a *App) Backup(ctx context.Context, file string, s Secret) (res BackupResult, err error) {
	const op = "app.backup"
	if _, ok, err := a.reader(ctx); err != nil || !ok {
		if err == nil {
			err = fault.New(op, fault.NotFound, "there is nothing to back up in %s yet", a.Paths.Home)
		}
		return res, err
	}
	to, err := a.recipients(ctx, s)
	if err != nil {
		return res, err
	}
	tmp, err := os.CreateTemp(filepath.Dir(file), ".sallyport-backup-*") // mode 0600
	if err != nil {
		return res, &fault.Error{Op: op, Kind: fault.Unavailable, Err: err, Public: "the backup cannot be written beside " + file + "; check the directory and its rights"}
	}
	defer func() { err = errors.Join(err, removed(tmp.Name())) }()
	res = BackupResult{File: file, Instance: a.Signer().Origin()}
	err = a.seal(ctx, tmp, to, &res)
	if err = errors.Join(err, tmp.Sync()); err == nil {
		res.Bytes, err = tmp.Seek(0, io.SeekEnd)
	}
	if err = errors.Join(err, tmp.Close()); err != nil {
		return res, fault.Wrap(op, fault.KindOf(err), err)
	}
	if err := os.Link(tmp.Name(), file); err != nil { // appears whole, and only under a free name
		kind := fault.Unavailable
		if errors.Is(err, fs.ErrExist) {
			kind = fault.Conflict
		}
		return res, &fault.Error{Op: op, Kind: kind, Err: err, Public: file + " cannot be made; name a file that does not exist"}
	}
	return res, nil
}

// removed removes a temporary file.
func removed(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fault.Wrap("app.backup", fault.Unavailable, err)
	}
	return nil
}

func (a *App) seal(ctx context.Context, w io.Writer, to []vault.Recipient, res *BackupResult) error {
	sealed, err := vault.Seal(w, to...)
	if err != nil {
		return err
	}
	p := &packer{ctx: ctx, tar: tar.NewWriter(sealed), res: res}
	head, err := json.Marshal(manifest{Form: backupForm, Instance: res.Instance, Created: time.Now().UTC()})
	if err != nil {
		return fault.Wrap("app.backup", fault.Internal, err)
	}
	if err := p.bytes(backupManifest, head); err != nil {
		return err
	}
	if err := a.packDatabase(ctx, p); err != nil {
		return err
	}
	if err := a.packRoot(ctx, p, to); err != nil {
		return err
	}
	if err := a.packHome(p); err != nil {
		return err
	}
	return errors.Join(p.tar.Close(), sealed.Close())
}

// packDatabase copies the database as of one moment, while others write. The
// copy lies in the state directory for as long as it is read.
func (a *App) packDatabase(ctx context.Context, p *packer) (err error) {
	dir, err := factsDir(a.Paths.Home)
	if err != nil {
		return err
	}
	dir, err = os.MkdirTemp(dir, "backup-")
	if err != nil {
		return fault.Wrap("app.backup", fault.Unavailable, err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	db, err := sql.Open("sqlite", "file:"+a.Paths.Database+"?_pragma=busy_timeout(10000)")
	if err != nil {
		return fault.Wrap("app.backup", fault.Unavailable, err)
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	copied := filepath.Join(dir, backupDatabase)
	if _, err := db.ExecContext(ctx, "VACUUM INTO ?", copied); err != nil {
		return fault.Wrap("app.backup", fault.Unavailable, err)
	}
	return p.file(backupDatabase, copied)
}

// packRoot adds the root key where it lies in the clear: sealed once more, so
// that it is in the clear nowhere, not even while it is restored. A key that a
// passphrase seals comes with the files.
func (a *App) packRoot(ctx context.Context, p *packer, to []vault.Recipient) error {
	st, err := a.Store(ctx)
	if err != nil {
		return err
	}
	book := st.Vault()
	if _, err := book.State(ctx); fault.Is(err, fault.NotFound) || a.Config.Vault.Root == "passphrase" {
		return nil
	} else if err != nil {
		return err
	}
	root, err := a.root(ctx, false)
	if err != nil {
		return err
	}
	defer root.Wipe()
	room := &strongroom{app: a, book: book}
	defer room.close()
	v, err := room.open(ctx, false)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	if err := v.Backup(ctx, &b, root, to...); err != nil {
		return err
	}
	return p.bytes(backupRoot, b.Bytes())
}

// packHome adds the other files. What is no file, directory or link is named and
// left out; run/ is of processes that live.
func (a *App) packHome(p *packer) error {
	skip := map[string]bool{"run": true, filepath.Join("keys", rootFile): true}
	return filepath.WalkDir(a.Paths.Home, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return fault.Wrap("app.backup", fault.Unavailable, err)
		}
		rel, err := filepath.Rel(a.Paths.Home, path)
		switch {
		case err != nil:
			return fault.Wrap("app.backup", fault.Internal, err)
		case rel == ".":
			return nil
		case path == a.rootPath() && a.Config.Vault.Root != "passphrase", skip[rel] && !e.IsDir(),
			!strings.ContainsRune(rel, filepath.Separator) && strings.HasPrefix(rel, "state."):
			return nil
		case skip[rel]:
			return filepath.SkipDir
		case e.Type().IsRegular():
			return p.file(backupHome+filepath.ToSlash(rel), path)
		case e.IsDir(), e.Type()&fs.ModeSymlink != 0:
			return p.entry(backupHome+filepath.ToSlash(rel), path, e)
		}
		p.res.Skipped = append(p.res.Skipped, rel)
		return nil
	})
}

// packer writes the archive.
type packer struct {
	ctx context.Context //nolint:containedctx // it lives as long as one call
	tar *tar.Writer
	res *BackupResult
}

func (p *packer) header(h *tar.Header) error {
	if err := p.ctx.Err(); err != nil {
		return fault.Wrap("app.backup", fault.Canceled, err)
	}
	h.Format = tar.FormatPAX
	return fault.Wrap("app.backup", fault.Unavailable, p.tar.WriteHeader(h))
}

func (p *packer) bytes(name string, b []byte) error {
	if err := p.header(&tar.Header{Typeflag: tar.TypeReg, Name: name, Size: int64(len(b)), Mode: 0o600}); err != nil {
		return err
	}
	_, err := p.tar.Write(b)
	return fault.Wrap("app.backup", fault.Unavailable, err)
}

// file adds a regular file as long as it was when it was opened; one that
// vanished meanwhile is left out, one that shrank is padded by nobody: an error.
func (p *packer) file(name, path string) error {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fault.Wrap("app.backup", fault.Unavailable, err)
	}
	defer f.Close() //nolint:errcheck // read only
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return fault.Wrap("app.backup", fault.Unavailable, errors.Join(err, &fs.PathError{Op: "back up", Path: path, Err: errors.New("it was exchanged meanwhile")}))
	}
	h := &tar.Header{Typeflag: tar.TypeReg, Name: name, Size: info.Size(), Mode: int64(info.Mode().Perm()), ModTime: info.ModTime()}
	if err := p.header(h); err != nil {
		return err
	}
	p.res.Files++
	_, err = io.CopyN(p.tar, reading{p.ctx, f}, info.Size())
	return fault.Wrap("app.backup", fault.Unavailable, err)
}

func (p *packer) entry(name, path string, e fs.DirEntry) error {
	info, err := e.Info()
	if err != nil {
		return fault.Wrap("app.backup", fault.Unavailable, err)
	}
	h := &tar.Header{Typeflag: tar.TypeDir, Name: name, Mode: int64(info.Mode().Perm()), ModTime: info.ModTime()}
	if !e.IsDir() {
		h.Typeflag = tar.TypeSymlink
		if h.Linkname, err = os.Readlink(path); err != nil {
			return fault.Wrap("app.backup", fault.Unavailable, err)
		}
	}
	return p.header(h)
}

// reading ends with its context.
type reading struct {
	ctx context.Context //nolint:containedctx // it lives as long as one copy
	io.Reader
}

// Read implements io.Reader.
func (r reading) Read(b []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, fault.Wrap("app.backup", fault.Canceled, err)
	}
	return r.Reader.Read(b)
}
