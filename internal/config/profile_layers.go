package config

import (
	"cmp"
	"embed"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"

	"sallyport/internal/label"
)

// Profiles come in three layers: shipped, files of the state directory, and the
// configuration. A profile of a lower layer is added to by one of the same
// name, and any profile may start from another by extends. Layers are joined as
// plain values, before they become a Profile, so that a value that is absent
// differs from one that is zero.

//go:embed profiles/*.yaml
var profileFiles embed.FS

// The layers, lowest first.
const (
	layerShipped = iota
	layerFile
	layerConfig
	layerCount
)

// rawProfile is one profile as it stands in one file.
type rawProfile struct {
	name  string
	plain map[string]any // checked values
	at    entry          // where it stands
	src   *source
	key   string // dotted path of the profile in its file, "" for a file of its own
}

// fail makes an error at one of the profile's keys, else at the profile.
func (r *rawProfile) fail(key, problem, remedy string) *Error {
	at := r.at
	if at.val != nil {
		if e := at.val.get(key); e != nil {
			at = *e
		}
	}
	return r.src.at(at.line, at.col, join(r.key, key), problem, remedy)
}

// ProfileFile is one profile read from a file of its own.
type ProfileFile struct{ raw *rawProfile }

// Name is the profile's name: the file's, without its ending.
func (f ProfileFile) Name() string { return f.raw.name }

var profileName = regexp.MustCompile(profileRE)

// ParseProfile reads one profile from bytes; the file's base name without its
// ending is the profile's name. The error is an Errors or an *Error of kind
// fault.Config.
func ParseProfile(path string, data []byte) (ProfileFile, error) {
	name := strings.TrimSuffix(filepath.Base(path), filepath.Ext(path))
	if !profileName.MatchString(name) || name == extendsNothing {
		return ProfileFile{}, &Error{Pos: Position{File: path}, Problem: fmt.Sprintf("%q is no profile's name", short(name)), Remedy: "name the file after the profile: " + profileForm}
	}
	root, src, err := parseTree(path, data)
	if err != nil {
		return ProfileFile{}, err
	}
	if root.kind == nNull {
		return ProfileFile{}, src.at(1, 1, "", "the file is empty", "write at least extends: NAME")
	}
	table := profileSpec()
	c := &checker{src: src, root: table}
	at := entry{line: root.line, col: root.col, val: root}
	plain, _ := c.value(at, "", table, false).(map[string]any)
	if err := c.errs.err(); err != nil {
		return ProfileFile{}, err
	}
	return ProfileFile{&rawProfile{name: name, plain: plain, at: at, src: src}}, nil
}

// named reads the labels of a profile's file with the names of the
// configuration, which were not known when the file was read.
func (r *rawProfile) named(s label.Scheme) (*rawProfile, Errors) {
	c := &checker{src: r.src, root: profileSpec(), scheme: &s}
	plain, _ := c.value(r.at, "", profileSpec(), false).(map[string]any)
	out := *r
	out.plain = plain
	return &out, c.errs
}

// LoadProfiles reads every *.yaml and *.yml file of a directory as a profile,
// in the order of their names. A directory that does not exist has none; hidden
// files are skipped. The error names everything wrong in the first bad file.
func LoadProfiles(dir string) ([]ProfileFile, error) {
	entries, err := os.ReadDir(dir)
	if os.IsNotExist(err) {
		return nil, nil
	}
	if err != nil {
		return nil, &Error{Pos: Position{File: dir}, Problem: reason(err), Remedy: "make the directory readable for this user"}
	}
	var out []ProfileFile
	seen := map[string]string{}
	for _, e := range entries {
		if !agentFileName(e) {
			continue
		}
		path := filepath.Join(dir, e.Name())
		data, mode, err := readFile(path)
		if err != nil {
			return nil, err
		}
		if mode.Perm()&0o022 != 0 {
			return nil, &Error{Pos: Position{File: path}, Problem: "can be written by other users, who can so change what agents reach", Remedy: "chmod go-w it"}
		}
		f, err := ParseProfile(path, data)
		if err != nil {
			return nil, err
		}
		if other := seen[f.Name()]; other != "" {
			return nil, &Error{Pos: Position{File: path}, Problem: "is the same profile as " + other, Remedy: "keep one of the two"}
		}
		seen[f.Name()] = path
		out = append(out, f)
	}
	return out, nil
}

// shippedRaw reads the embedded profiles once; that they are right is tested.
var shippedRaw = sync.OnceValue(func() map[string]*rawProfile {
	out := map[string]*rawProfile{}
	names, err := fs.Glob(profileFiles, "profiles/*.yaml")
	if err != nil {
		panic(err)
	}
	for _, path := range names {
		data, err := profileFiles.ReadFile(path)
		if err != nil {
			panic(err)
		}
		f, err := ParseProfile(path, data)
		if err != nil {
			panic(err)
		}
		out[f.Name()] = f.raw
	}
	return out
})

func shippedProfiles() map[string]Profile {
	c := &Config{Secrets: shippedSecrets()}
	if err := c.layer(nil, nil); err != nil {
		panic(err)
	}
	return c.Profiles
}

// ownProfiles gives the profiles of a configuration file.
func ownProfiles(root *node, src *source, plain map[string]any) map[string]*rawProfile {
	e := root.get("profiles")
	if e == nil {
		return nil
	}
	values, _ := plain["profiles"].(map[string]any)
	out := map[string]*rawProfile{}
	for _, sub := range e.val.entries {
		v, _ := values[sub.key].(map[string]any)
		out[sub.key] = &rawProfile{name: sub.key, plain: v, at: sub, src: src, key: "profiles." + sub.key}
	}
	return out
}

// layer joins the layers into c.Profiles and checks what only the whole shows.
func (c *Config) layer(own map[string]*rawProfile, files []ProfileFile) error {
	l := &layers{done: map[layerKey]map[string]any{}}
	l.raw[layerShipped] = shippedRaw()
	l.raw[layerFile] = map[string]*rawProfile{}
	for _, f := range files {
		raw, errs := f.raw.named(c.Scheme())
		l.raw[layerFile][f.Name()], l.errs = raw, append(l.errs, errs...)
	}
	l.raw[layerConfig] = own
	out, wrong := map[string]Profile{}, map[string]Errors{}
	for _, name := range l.names() {
		plain := l.resolve(name, layerCount-1, nil)
		if plain == nil {
			continue // the reason is among the errors
		}
		plain = maps.Clone(plain)
		for key, value := range map[string]any{"view": "workspace", "workdir": "cow", "view_label": "internal/foreign", "required_tier": "full"} {
			if _, ok := plain[key]; !ok {
				plain[key] = value
			}
		}
		var p Profile
		if err := bind(plain, &p); err != nil {
			return err
		}
		raw, _ := l.top(name, layerCount-1)
		if errs := c.checkProfile(raw, &p); len(errs) > 0 {
			wrong[name] = errs
		}
		if p.Network.Off || p.View == "auditor" { // whose view can connect to nothing
			p.Network = Network{Off: true}
		}
		out[name] = p
	}
	for _, name := range sortedKeys(wrong) {
		// What a profile took over wrong is told where it was written, once.
		base := out[name].Extends
		for wrong[base] == nil && out[base].Extends != "" {
			base = out[base].Extends
		}
		if wrong[base] == nil {
			l.errs = append(l.errs, wrong[name]...)
		}
	}
	l.commands(out)
	if err := l.errs.err(); err != nil {
		return err
	}
	c.Profiles = out
	return nil
}

// layers joins profiles; done remembers what is joined.
type layers struct {
	raw  [layerCount]map[string]*rawProfile
	done map[layerKey]map[string]any
	errs Errors
}

type layerKey struct {
	name string
	rank int
}

// names gives the names of all layers, sorted.
func (l *layers) names() []string {
	all := map[string]bool{}
	for _, layer := range l.raw {
		for name := range layer {
			all[name] = true
		}
	}
	return sortedKeys(all)
}

// top gives a profile's entry of the highest layer up to rank, and its layer.
func (l *layers) top(name string, rank int) (*rawProfile, int) {
	for ; rank >= 0; rank-- {
		if r := l.raw[rank][name]; r != nil {
			return r, rank
		}
	}
	return nil, -1
}

// resolve joins a profile with what it starts from; nil when it cannot, with
// the reason among the errors. open holds the profiles being joined.
func (l *layers) resolve(name string, rank int, open []layerKey) map[string]any {
	r, rank := l.top(name, rank)
	if r == nil {
		return nil
	}
	key := layerKey{name, rank}
	if out, ok := l.done[key]; ok {
		return out
	}
	l.done[key] = nil // a cycle and an error are told once
	base := map[string]any{}
	from, _ := r.plain["extends"].(string)
	lower, _ := l.top(name, rank-1)
	switch {
	case from == extendsNothing:
	case from == name:
		l.errs = append(l.errs, r.fail("extends", "extends itself", "leave it out: a profile of a known name adds to it anyway"))
		return nil
	case from != "":
		if base = l.extend(r, from, append(open, key)); base == nil {
			return nil
		}
	case lower != nil:
		if base = l.resolve(name, rank-1, append(open, key)); base == nil {
			return nil
		}
	default:
		remedy := "add extends: with one of " + strings.Join(l.names(), ", ")
		if near := nearest(name, slices.DeleteFunc(l.names(), func(n string) bool { return n == name })); near != "" {
			remedy = "did you mean " + near + "? Otherwise add extends: workspace, or another profile it starts from"
		}
		l.errs = append(l.errs, r.fail("", "is not a known profile, and does not say what it extends", remedy))
		return nil
	}
	out, _ := merge(base, r.plain).(map[string]any)
	l.done[key] = out
	return out
}

// extend gives what a profile takes over from another: not its description
// and not the programs that select it.
func (l *layers) extend(r *rawProfile, from string, open []layerKey) map[string]any {
	target, rank := l.top(from, layerCount-1)
	if target == nil {
		remedy := "use one of " + strings.Join(l.names(), ", ")
		if near := nearest(from, l.names()); near != "" {
			remedy = "did you mean " + near + "?"
		}
		l.errs = append(l.errs, r.fail("extends", fmt.Sprintf("there is no profile %q", short(from)), remedy))
		return nil
	}
	if slices.Contains(open, layerKey{from, rank}) {
		chain := make([]string, 0, len(open)+1)
		for _, k := range open {
			chain = append(chain, k.name)
		}
		l.errs = append(l.errs, r.fail("extends", "extends in a circle: "+strings.Join(append(chain, from), " → "), "let one of them start from another profile"))
		return nil
	}
	base := l.resolve(from, rank, open)
	if base == nil {
		return nil
	}
	base = maps.Clone(base)
	for _, key := range []string{"description", "commands", "extends"} {
		delete(base, key)
	}
	return base
}

// commands lets the higher layer win when two profiles name one program, and
// refuses two of one layer.
func (l *layers) commands(profiles map[string]Profile) {
	type owner struct {
		name string
		rank int
	}
	owners := map[string]owner{}
	drop := func(name, command string) {
		p := profiles[name]
		p.Commands = slices.DeleteFunc(slices.Clone(p.Commands), func(c string) bool { return c == command })
		profiles[name] = p
	}
	for _, name := range sortedKeys(profiles) {
		for _, command := range slices.Clone(profiles[name].Commands) {
			mine := owner{name, l.namedBy(name, command)}
			other, taken := owners[command]
			switch {
			case !taken, mine.rank > other.rank:
				if taken {
					drop(other.name, command)
				}
				owners[command] = mine
			case mine.rank < other.rank:
				drop(name, command)
			default:
				r, _ := l.top(name, mine.rank)
				l.errs = append(l.errs, r.fail("commands", fmt.Sprintf("%s already selects the profile %s", short(command), other.name),
					"keep it in one of the two, and name the other with --profile"))
			}
		}
	}
}

// namedBy gives the highest layer in which a profile names a command.
func (l *layers) namedBy(name, command string) int {
	for rank := layerCount - 1; rank >= 0; rank-- {
		if r := l.raw[rank][name]; r != nil {
			if list, _ := r.plain["commands"].([]any); slices.Contains(list, any(command)) {
				return rank
			}
		}
	}
	return layerShipped
}

// merge puts over onto base: groups key by key, lists appended without what is
// there already, values replaced. Neither is changed.
func merge(base, over any) any {
	switch o := over.(type) {
	case map[string]any:
		b, _ := base.(map[string]any)
		out := make(map[string]any, len(b)+len(o))
		maps.Copy(out, b)
		for k, v := range o {
			out[k] = merge(b[k], v)
		}
		return out
	case []any:
		b, _ := base.([]any)
		out := slices.Clone(b)
		seen := map[string]bool{}
		for _, v := range b {
			seen[fingerprint(v)] = true
		}
		for _, v := range o {
			if f := fingerprint(v); !seen[f] {
				seen[f] = true
				out = append(out, v)
			}
		}
		return out
	default:
		return over
	}
}

// fingerprint renders a list's element for comparison; a key that says what
// its absence says does not count.
func fingerprint(v any) string {
	if m, ok := v.(map[string]any); ok {
		m = maps.Clone(m)
		maps.DeleteFunc(m, func(_ string, v any) bool {
			list, isList := v.([]any)
			return v == any(false) || v == any("") || isList && len(list) == 0
		})
		v = m
	}
	b, err := json.Marshal(v)
	if err != nil {
		return cmp.Or(err.Error(), "?")
	}
	return string(b)
}
