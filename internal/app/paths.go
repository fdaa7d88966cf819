package app

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"sallyport/internal/config"
	"sallyport/internal/fault"
)

// Paths are the places of one installation, all absolute.
type Paths struct {
	Home     string `json:"home"`     // the state directory, mode 0700
	Config   string `json:"config"`   // the configuration in use; "" means the built-in defaults
	Database string `json:"database"` // events and log
	Keys     string `json:"keys"`     // signing keys, mode 0700
	Naisys   string `json:"naisys"`   // folder of agent homes and reports
	Reports  string `json:"reports"`  // security_reports
	Log      string `json:"log"`      // the readable log
}

// statePaths gives the places below a state directory.
func statePaths(home, naisys string, cfg *config.Config) Paths {
	p := Paths{
		Home: home, Config: cfg.Path,
		Database: filepath.Join(home, "state.db"),
		Keys:     filepath.Join(home, "keys"),
		Naisys:   naisys,
		Reports:  filepath.Join(naisys, "security_reports"),
		Log:      cfg.Logging.File,
	}
	if !filepath.IsAbs(p.Log) {
		p.Log = filepath.Join(home, p.Log)
	}
	return p
}

// stateHome resolves where the state directory is.
func stateHome(explicit string, environ []string) (string, error) {
	home := config.StateDir(explicit, environ)
	if home == "" {
		return "", fault.New("app.home", fault.Config,
			"there is no home directory to keep state in; name a directory with --home or in SALLYPORT_HOME")
	}
	return home, nil
}

// checkHome reports whether the state directory exists, and refuses one that
// is not a directory, belongs to somebody else or is open to others.
func checkHome(home string) (exists bool, err error) {
	info, err := os.Lstat(home)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, &fault.Error{
			Op: "app.home", Kind: fault.Unavailable, Err: err,
			Public: "the state directory " + home + " cannot be examined; check the permissions above it",
		}
	}
	if info.Mode()&fs.ModeSymlink != 0 {
		if info, err = os.Stat(home); err != nil {
			return false, fault.Wrap("app.home", fault.Unavailable, err)
		}
	}
	if !info.IsDir() {
		return false, fault.New("app.home", fault.Config,
			"the state directory %s is a file; name a directory with --home or in SALLYPORT_HOME", home)
	}
	if owner, ok := ownerOf(info); ok && owner != os.Geteuid() {
		return false, fault.New("app.home", fault.Denied,
			"the state directory %s belongs to user %d, not to you; only its owner is the operator: run as that user or name another with --home", home, owner)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return false, fault.New("app.home", fault.Config,
			"the state directory %s is open to other users (mode %04o), who could read or change the record; run: chmod 700 %s", home, info.Mode().Perm(), home)
	}
	return true, nil
}

// makeHome creates what is missing of the state directory.
func makeHome(home string) error {
	for _, dir := range []string{home, filepath.Join(home, "keys")} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return &fault.Error{
				Op: "app.home", Kind: fault.Unavailable, Err: err,
				Public: "the state directory " + home + " cannot be created; check the path and its permissions, or name another with --home",
			}
		}
	}
	return nil
}

// agentDir gives the directory an agent file, or a directory of them, stands for.
func agentDir(path string) string {
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		return path
	}
	return filepath.Dir(path)
}
