package changes

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"regexp"
	"sync"
	"time"
)

// The modes of a Set: how the sandbox kept the changes apart.
const (
	ModeOverlay = "overlay" // Store/upper is an overlayfs upper directory
	ModeCopy    = "copy"    // Store/copy is a private copy, Store/base.jsonl its record
)

// The states of a Set.
const (
	StateOpen      = "open"      // the session runs, or ended without saying so
	StateEnded     = "ended"     // the session is over, changes wait
	StateCommitted = "committed" // nothing is left to commit
	StateDiscarded = "discarded" // what was left was dropped
)

const metaVersion = 1

// maxMeta bounds meta.json, in bytes.
const maxMeta = 64 << 10

// Meta describes a Set.
type Meta struct {
	Version int       `json:"version"`
	ID      string    `json:"id"`      // name of the Store; Create derives it from Session
	Session string    `json:"session"` // letters, digits, dot, dash, underscore; at most 100
	Agent   string    `json:"agent"`
	Dir     string    `json:"dir"`  // absolute host directory, without symbolic links
	Mode    string    `json:"mode"` // ModeOverlay or ModeCopy; "" until the sandbox has started
	Device  uint64    `json:"device"`
	Inode   uint64    `json:"inode"`
	Started time.Time `json:"started"`
	Ended   time.Time `json:"ended,omitzero"`
	State   string    `json:"state"`
	// Protected are globs, besides the shipped ones, that the session's profile
	// protects: what held when it began holds until its changes are settled.
	Protected []string `json:"protected,omitempty"`
}

var identifier = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[A-Za-z0-9_-][A-Za-z0-9._-]{0,119}$`) })

// parseMeta reads meta.json strictly: this package wrote it, so whatever is
// unknown is damage or a newer version.
func parseMeta(data []byte) (Meta, error) {
	var m Meta
	if len(data) > maxMeta {
		return m, errors.New("meta.json is too large")
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&m); err != nil {
		return m, fmt.Errorf("meta.json: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return m, errors.New("meta.json: something follows the object")
	}
	return m, m.validate()
}

func (m Meta) validate() error {
	switch {
	case m.Version != metaVersion:
		return fmt.Errorf("meta.json: version %d is not %d", m.Version, metaVersion)
	case !identifier().MatchString(m.ID):
		return errors.New("meta.json: the id is not an identifier")
	case !filepath.IsAbs(m.Dir) || filepath.Clean(m.Dir) != m.Dir || m.Dir == "/":
		return errors.New("meta.json: dir is not a clean absolute path below /")
	case m.Mode != "" && m.Mode != ModeOverlay && m.Mode != ModeCopy:
		return fmt.Errorf("meta.json: mode %q is unknown", m.Mode)
	case m.Inode == 0 || m.Started.IsZero():
		return errors.New("meta.json: inode or start is missing")
	}
	switch m.State {
	case StateOpen, StateEnded, StateCommitted, StateDiscarded:
		return nil
	}
	return fmt.Errorf("meta.json: state %q is unknown", m.State)
}
