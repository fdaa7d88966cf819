package app

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"sallyport/internal/fault"
)

// The bounds of what is taken from the operator's home.
const (
	maxSeed  = 1 << 20 // bytes of one file
	maxSeeds = 500     // files
)

// seedHome makes the private home and copies into it what the profile takes
// from the operator's, for each run anew: what the agent made of an earlier copy
// is replaced. The home was written by an agent, so nothing outside it is
// reached through a link that was left there, and none can keep the next run
// from starting.
func (g *guarded) seedHome() error {
	if err := os.MkdirAll(g.home, 0o700); err != nil {
		return &fault.Error{Op: "app.home", Kind: fault.Unavailable, Err: err, Public: g.home + " cannot be created; check its permissions"}
	}
	// An agent may have closed its own home, which then nobody but root opens.
	if err := os.Chmod(g.home, 0o700); err != nil { //nolint:gosec // a directory
		return fault.Wrap("app.home", fault.Unavailable, err)
	}
	root, err := os.OpenRoot(g.home)
	if err != nil {
		return fault.Wrap("app.home", fault.Unavailable, err)
	}
	defer func() { _ = root.Close() }() // nothing is written through it
	var errs []error
	left := maxSeeds
	for _, f := range g.prof.Home {
		err := error(nil)
		if f.Content != "" {
			err = errors.Join(directory(root, filepath.Dir(f.Path)), remove(root, f.Path))
			err = errors.Join(err, root.WriteFile(f.Path, []byte(f.Content), 0o600))
		} else {
			err = seed(root, filepath.Join(g.userHome, f.Path), f.Path, &left)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", f.Path, err))
		}
	}
	// A directory that a variable promises has to be there.
	for _, kv := range g.environment() {
		name, value, _ := strings.Cut(kv, "=")
		rel, err := filepath.Rel(g.home, value)
		if !strings.HasSuffix(name, "_HOME") && !strings.HasSuffix(name, "_DIR") || err != nil || rel == "." || !filepath.IsLocal(rel) {
			continue
		}
		errs = append(errs, directory(root, rel))
	}
	return fault.Wrap("app.home", fault.Unavailable, errors.Join(errs...))
}

// directory makes a directory and what leads to it. Links and files that stand
// in its way are removed.
func directory(root *os.Root, path string) error {
	made := ""
	for part := range strings.SplitSeq(filepath.Clean(path), "/") {
		made = filepath.Join(made, part)
		info, err := root.Lstat(made)
		if err == nil && info.IsDir() {
			if err := root.Chmod(made, 0o700); err != nil {
				return err
			}
			continue
		}
		if err == nil {
			err = root.Remove(made)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err := root.Mkdir(made, 0o700); err != nil {
			return err
		}
	}
	return nil
}

// remove removes all there is at a path, directories that an agent closed too.
func remove(root *os.Root, path string) error {
	if root.RemoveAll(path) == nil {
		return nil
	}
	_ = fs.WalkDir(root.FS(), path, func(p string, d fs.DirEntry, _ error) error {
		if d != nil && d.IsDir() {
			_ = root.Chmod(p, 0o700) // what does not help shows below
		}
		return nil
	})
	return root.RemoveAll(path)
}

// seed copies a file, or the files of a directory, into the private home. What
// is absent, too large or no regular file is left out: links beneath a directory
// could lead anywhere.
func seed(root *os.Root, from, to string, left *int) error {
	info, err := os.Stat(from)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := errors.Join(directory(root, filepath.Dir(to)), remove(root, to)); err != nil {
		return err
	}
	if !info.IsDir() {
		return seedFile(root, from, to, info, left)
	}
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		return seedFile(root, path, filepath.Join(to, rel), info, left)
	})
}

func seedFile(root *os.Root, from, to string, info fs.FileInfo, left *int) error {
	if !info.Mode().IsRegular() || info.Size() > maxSeed || *left == 0 {
		return nil
	}
	*left--
	text, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	if err := directory(root, filepath.Dir(to)); err != nil {
		return err
	}
	return root.WriteFile(to, text, 0o600)
}
