package app

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"sallyport/internal/config"
	"sallyport/internal/fault"
	"sallyport/internal/label"
)

// Labels are stored by numbers: level 2, compartment 5. The names of the
// configuration only say how a number is read and written, so a name that moves
// to another number would silently relabel everything that is stored. The state
// directory therefore remembers the names that it has seen.

// labelsFile holds the remembered names, in the directory of keys, mode 0600.
const labelsFile = "labels.json"

// maxLabelsFile bounds it, in bytes: 68 names of 32 characters with room.
const maxLabelsFile = 16 << 10

// rememberedNames are the names that stored labels may have been given by.
type rememberedNames struct {
	Levels       []string `json:"levels"`
	Compartments []string `json:"compartments"`
}

// ShowLabel gives a stored label by the configured names, for people; text that
// is no label stays as it is.
func (a *App) ShowLabel(text string) string { return a.Config.Shown(text) }

// unreadable is the error for a label that a person wrote and that names
// nothing; what is where it stood, "" for an argument that needs no name.
func (a *App) unreadable(what string, err error) error {
	public := strings.TrimPrefix(err.Error(), "label: ")
	if what != "" {
		public = what + ": " + public
	}
	public += "; a label is a level, then {compartments} and /integrity where it has any, as in secret{hr}/member"
	if u, ok := errors.AsType[*label.UnknownName](err); ok && u.What == "compartment" {
		where := "no configuration file was read; name compartments under labels: in " + filepath.Join(a.Paths.Home, "sallyport.yaml") + ", or name a file with --config"
		if a.Config.Path != "" {
			where = "compartments get their names under labels: in " + a.Config.Path
		}
		public += "; " + where
	}
	return &fault.Error{Op: "app.label", Kind: fault.Usage, Public: public, Err: err}
}

// checkNames refuses a configuration that gives a remembered name to another
// number, or another name to a number of a compartment. The notice, "" for
// none, tells of compartments that lost their name.
func checkNames(dir string, cfg *config.Config) (notice string, err error) {
	old, err := readNames(dir)
	if err != nil {
		return "", err
	}
	return old.check(dir, cfg.Labels)
}

func (r rememberedNames) check(dir string, now config.Labels) (notice string, err error) {
	for i, name := range r.Levels {
		if j := slices.Index(now.Levels, name); name != "" && j >= 0 && j != i {
			return "", moved(dir, "levels", name, i, strings.Join(r.Levels, ", "))
		}
	}
	for i, name := range now.Compartments {
		if i < len(r.Compartments) && r.Compartments[i] != name {
			return "", moved(dir, "compartments", r.Compartments[i], i, strings.Join(r.Compartments, ", "))
		}
	}
	if len(now.Compartments) < len(r.Compartments) {
		return fmt.Sprintf("labels.compartments does not name %s any more; labels with them are shown as c%d and on",
			strings.Join(r.Compartments[len(now.Compartments):], ", "), len(now.Compartments)), nil
	}
	return "", nil
}

func moved(dir, key, name string, i int, order string) error {
	return fault.New("app.labels", fault.Config,
		"labels.%s: %s was number %d when data was labelled and is not now, so stored labels would change their meaning; "+
			"keep the order %s and add new names at the end (only if nothing was ever labelled with them, remove %s)",
		key, name, i, order, filepath.Join(dir, labelsFile))
}

// keepNames remembers the names of the configuration beside those seen before.
func keepNames(dir string, cfg *config.Config) error {
	old, err := readNames(dir)
	if err != nil {
		return err
	}
	if _, err := old.check(dir, cfg.Labels); err != nil {
		return err
	}
	now := rememberedNames{Levels: longer(cfg.Labels.Levels, old.Levels), Compartments: longer(cfg.Labels.Compartments, old.Compartments)}
	if slices.Equal(now.Levels, old.Levels) && slices.Equal(now.Compartments, old.Compartments) {
		return nil
	}
	b, err := json.MarshalIndent(now, "", "  ")
	if err != nil {
		return fault.Wrap("app.labels", fault.Internal, err)
	}
	return replaceFile(filepath.Join(dir, labelsFile), append(b, '\n'))
}

// longer gives the newer names, and those of older ones that go beyond them.
func longer(now, old []string) []string {
	if len(old) <= len(now) {
		return now
	}
	return slices.Concat(now, old[len(now):])
}

func readNames(dir string) (rememberedNames, error) {
	var r rememberedNames
	path := filepath.Join(dir, labelsFile)
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return r, nil
	}
	if err != nil {
		return r, fault.Wrap("app.labels", fault.Unavailable, err)
	}
	if r, err = parseNames(b); err != nil {
		return r, &fault.Error{Op: "app.labels", Kind: fault.Config, Err: err, Public: path +
			" cannot be read, so nothing tells what stored labels were named; restore it from a backup, or remove it if nothing was ever labelled with names of your own"}
	}
	return r, nil
}

// parseNames reads what keepNames wrote.
func parseNames(b []byte) (rememberedNames, error) {
	var r rememberedNames
	if len(b) > maxLabelsFile {
		return r, fmt.Errorf("app: labels: %d bytes", len(b))
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&r); err != nil {
		return rememberedNames{}, err
	}
	if d.More() {
		return rememberedNames{}, errors.New("app: labels: more than one value")
	}
	if err := (label.Scheme{Levels: r.Levels, Compartments: r.Compartments}).Check(); err != nil {
		return rememberedNames{}, err
	}
	return r, nil
}
