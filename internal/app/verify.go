package app

import (
	"context"
	"encoding/base64"
	"errors"
	"io"
	"os"
	"path/filepath"
	"time"

	"sallyport/internal/audit"
	"sallyport/internal/fault"
)

// VerifyOptions say what is verified and against what.
type VerifyOptions struct {
	Export  string   // a file, "-" for standard input; "" verifies this installation's log
	Key     string   // file with the public key kept elsewhere; "" see VerifyResult.Pinned
	Anchors []string // files of checkpoints kept elsewhere, as log.anchor writes them
	Stdin   io.Reader
}

// VerifyResult is what a verification found.
type VerifyResult struct {
	OK          bool      `json:"ok"`
	Instance    string    `json:"instance"`
	Entries     int64     `json:"entries"`
	Root        string    `json:"root"` // base64
	Checkpoints int       `json:"checkpoints"`
	Anchors     int       `json:"anchors"`
	Opened      int64     `json:"opened"` // commitments compared with their values
	Erased      int64     `json:"erased"` // entries whose values were erased, each with a record of it
	Values      bool      `json:"values"` // the values were there to compare
	Pinned      bool      `json:"pinned"` // the public key was not the export's own
	First       time.Time `json:"first"`
	Last        time.Time `json:"last"`
	Problem     string    `json:"problem,omitempty"`
}

// VerifyExport verifies an export offline: nothing but the file, a key and
// anchors is read. The error is of kind fault.Corrupt with the first problem,
// which the result names too.
func VerifyExport(o VerifyOptions) (VerifyResult, error) {
	in := o.Stdin
	if o.Export != "-" {
		f, err := os.Open(o.Export)
		if err != nil {
			return VerifyResult{}, notFound("app.verify", o.Export, err)
		}
		defer f.Close() //nolint:errcheck // read only
		in = f
	}
	opt, err := verifyOptions(o)
	if err != nil {
		return VerifyResult{}, err
	}
	rep, err := audit.Verify(in, opt)
	return resultOf(rep), err
}

// VerifyLog verifies this installation's own log with all its values, the tree
// as it is stored, and the anchors that log.anchor names as files.
func (a *App) VerifyLog(ctx context.Context, o VerifyOptions) (VerifyResult, error) {
	st, ok, err := a.reader(ctx)
	if err != nil {
		return VerifyResult{}, err
	}
	if !ok {
		return VerifyResult{}, fault.New("app.verify", fault.NotFound,
			"there is no log yet in %s: run `sallyport run examples/nightwatch.yaml --once`", a.Paths.Home)
	}
	for _, an := range a.Config.Log.Anchor {
		if an.File != "" {
			if _, err := os.Stat(an.File); err == nil {
				o.Anchors = append(o.Anchors, an.File)
			}
		}
	}
	if o.Key == "" {
		o.Key = filepath.Join(a.Paths.Keys, audit.VerifierFile)
	}
	opt, err := verifyOptions(o)
	if err != nil {
		return VerifyResult{}, err
	}
	if err := st.CheckTree(ctx); err != nil {
		return VerifyResult{Problem: fault.PublicText(err)}, err
	}
	r, w := io.Pipe()
	go func() { w.CloseWithError(audit.Export(ctx, w, st, a.Signer(), true)) }()
	rep, err := audit.Verify(r, opt)
	return resultOf(rep), errors.Join(err, r.Close())
}

func verifyOptions(o VerifyOptions) (audit.VerifyOptions, error) {
	var opt audit.VerifyOptions
	if o.Key != "" {
		key, err := os.ReadFile(o.Key)
		if err != nil {
			return opt, notFound("app.verify", o.Key, err)
		}
		opt.Verifier = string(key)
	}
	for _, name := range o.Anchors {
		b, err := os.ReadFile(name)
		if err != nil {
			return opt, notFound("app.verify", name, err)
		}
		opt.Anchors = append(opt.Anchors, audit.ReadAnchors(b)...)
	}
	return opt, nil
}

func resultOf(r audit.Report) VerifyResult {
	out := VerifyResult{
		OK: r.Bad == nil, Instance: r.Instance, Entries: r.Size, Checkpoints: r.Checkpoints, Anchors: r.Anchors,
		Opened: r.Opened, Erased: r.Erased, Values: r.Values, Pinned: r.Pinned, First: r.First, Last: r.Last,
	}
	if r.Size > 0 {
		out.Root = base64.StdEncoding.EncodeToString(r.Root[:])
	}
	if r.Bad != nil {
		out.Problem = r.Bad.String()
	}
	return out
}

// ExportLog writes the log up to its newest checkpoint; with values it holds
// what agents did, in clear.
func (a *App) ExportLog(ctx context.Context, w io.Writer, values bool) error {
	st, ok, err := a.reader(ctx)
	if err != nil {
		return err
	}
	if !ok {
		return fault.New("app.export", fault.NotFound,
			"there is no log yet in %s: run `sallyport run examples/nightwatch.yaml --once`", a.Paths.Home)
	}
	return audit.Export(ctx, w, st, a.Signer(), values)
}

// ExportFile writes an export to a new file, mode 0600, whole or not at all.
func (a *App) ExportFile(ctx context.Context, path string, values bool) (err error) {
	const op = "app.export"
	if _, err := os.Lstat(path); err == nil {
		return fault.New(op, fault.Conflict, "%s exists already; name a new file or remove it first", path)
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), ".sallyport-export-*")
	if err != nil {
		return &fault.Error{Op: op, Kind: fault.Unavailable, Err: err, Public: path + " cannot be written; check the directory and its permissions"}
	}
	err = a.ExportLog(ctx, tmp, values)
	err = errors.Join(err, tmp.Sync(), tmp.Close())
	if err == nil {
		err = os.Link(tmp.Name(), path) // fails when the name was taken meanwhile
	}
	if rerr := os.Remove(tmp.Name()); err == nil {
		err = rerr
	}
	if err != nil && fault.KindOf(err) == fault.Internal {
		return fault.Wrap(op, fault.Unavailable, err)
	}
	return err
}

// notFound gives a file error its kind and sentence.
func notFound(op, path string, err error) error {
	kind, text := fault.Unavailable, path+" cannot be read; check its permissions"
	if errors.Is(err, os.ErrNotExist) {
		kind, text = fault.NotFound, "there is no file "+path
	}
	return &fault.Error{Op: op, Kind: kind, Public: text, Err: err}
}
