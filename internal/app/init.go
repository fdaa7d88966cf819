package app

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"sallyport/internal/config"
	"sallyport/internal/fault"
)

// InitResult says what Init found and made.
type InitResult struct {
	Home    string   `json:"home"`
	Config  string   `json:"config"`
	Created []string `json:"created"` // paths that were not there before
	Kept    []string `json:"kept"`    // paths that were left as they are
}

// Init makes the state directory, its keys directory and a commented default
// configuration. What exists is kept unless force is set, which replaces the
// configuration alone and keeps the old one beside it as sallyport.yaml.bak.
func Init(home string, environ []string, force bool) (InitResult, error) {
	dir, err := stateHome(home, environ)
	if err != nil {
		return InitResult{}, err
	}
	res := InitResult{Home: dir, Config: filepath.Join(dir, "sallyport.yaml"), Created: []string{}, Kept: []string{}}
	exists, err := checkHome(dir)
	if err != nil {
		return InitResult{}, err
	}
	note := func(path string, was bool) {
		if was {
			res.Kept = append(res.Kept, path)
		} else {
			res.Created = append(res.Created, path)
		}
	}
	_, kerr := os.Stat(filepath.Join(dir, "keys"))
	if err := makeHome(dir); err != nil {
		return InitResult{}, err
	}
	note(dir, exists)
	note(filepath.Join(dir, "keys"), kerr == nil)
	path, found, err := config.Find(config.Lookup{StateDir: dir})
	if err != nil {
		return InitResult{}, err
	}
	if found {
		res.Config = path
	}
	if found && !force {
		note(path, true)
		return res, nil
	}
	if found {
		if err := os.Rename(path, path+".bak"); err != nil {
			return InitResult{}, fault.Wrap("app.init", fault.Unavailable, err)
		}
		res.Kept = append(res.Kept, path+".bak")
		res.Config = filepath.Join(dir, "sallyport.yaml")
	}
	if err := writeNew(res.Config, config.DefaultFile()); err != nil {
		return InitResult{}, err
	}
	note(res.Config, false)
	return res, nil
}

// writeNew writes a file that must not exist yet, mode 0600.
func writeNew(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		kind := fault.Unavailable
		if errors.Is(err, fs.ErrExist) {
			kind = fault.Conflict
		}
		return &fault.Error{Op: "app.write", Kind: kind, Err: err, Public: path + " cannot be created; check that it does not exist, the permissions and the free space"}
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Sync(), f.Close())
	if err != nil {
		err = errors.Join(err, os.Remove(path))
	}
	return fault.Wrap("app.write", fault.Unavailable, err)
}
