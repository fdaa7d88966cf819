package config

import (
	"bytes"
	_ "embed" // the default file
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"sallyport/internal/fault"
)

// Config is sallyport.yaml with the defaults filled in.
type Config struct {
	// Path is the file it came from; "" means the built-in defaults.
	Path string `json:"-"`
	// Notices are things the operator should know that do not prevent a start.
	Notices []string `json:"-"`

	Security     Security                 `json:"security"`
	ReadOnlyMode bool                     `json:"readOnlyMode"`
	Tools        Tools                    `json:"tools"`
	Logging      Logging                  `json:"logging"`
	Log          LogConfig                `json:"log"`
	Models       map[string]Model         `json:"models"`    // by alias; the shipped ones included
	Endpoints    map[string]Endpoint      `json:"endpoints"` // by provider, host or host:port
	Agents       map[string]AgentSettings `json:"agents"`    // by username
	Profiles     map[string]Profile       `json:"profiles"`  // by name, the shipped ones included; each with what it extends
	Network      Network                  `json:"network,omitzero"`
	Secrets      map[string]Secret        `json:"secrets"` // by name; the shipped ones included
	Policy       []string                 `json:"policy"`  // further Cedar files, paths resolved against Path

	DataMasking Masking    `json:"data_masking"`
	Compliance  Compliance `json:"compliance"`
	Monitoring  Monitoring `json:"monitoring"`
	Moderation  Moderation `json:"moderation"`
	Proxy       Proxy      `json:"proxy"`
	Alerts      Alerts     `json:"alerts"`

	Labels       Labels            `json:"labels"`
	Organisation Organisation      `json:"organisation"`
	Folders      map[string]Folder `json:"folders"` // by name
	Clearances   Clearances        `json:"clearances"`
	Vault        Vault             `json:"vault"`

	// SpendLimitDollars bounds all agents together, in US dollars; nil: no such bound.
	SpendLimitDollars *float64 `json:"spendLimitDollars,omitempty"`
	// DayLimitDollars bounds all agents together per UTC day, in US dollars; nil: no such bound.
	DayLimitDollars *float64 `json:"dayLimitDollars,omitempty"`
	// ShellOutputTokens bounds one command's output given to a model, 100 to 200,000.
	ShellOutputTokens int `json:"shellOutputTokens"`

	othersWrite bool // the file can be written by group or others
}

// Security holds the execution switches, both false unless the operator says otherwise.
type Security struct {
	EnableCommandExecution bool     `json:"enable_command_execution"`
	EnablePythonExec       bool     `json:"enable_python_exec"` // never true: there is no such tool
	AllowedFilePaths       []string `json:"allowed_file_paths"` // absolute directories
	BlockedCommands        []string `json:"blocked_commands"`   // programs with optional arguments

	SuspiciousKeywords []string          `json:"suspicious_keywords"`
	DangerousKeywords  []string          `json:"dangerous_keywords"`
	SuspiciousAction   string            `json:"suspicious_action"` // log, alert, ask or block
	DangerousAction    string            `json:"dangerous_action"`
	KeywordModes       map[string]string `json:"keyword_modes"` // word, substring, regex or command
	Detectors          map[string]string `json:"detectors"`     // by class: log, alert, ask or block
	UnscannedAction    string            `json:"unscanned_action"`
	Canaries           []string          `json:"canaries"` // values that nobody has a reason to send
}

// Tools holds limits of tools.
type Tools struct {
	CommandTimeout int `json:"command_timeout"` // seconds, 1 to 86,400
}

// Logging holds the readable log's settings.
type Logging struct {
	Level       string `json:"level"`        // debug, info, warning or error
	File        string `json:"file"`         // a relative path is below the state directory
	MaxBytes    int64  `json:"max_bytes"`    // size at which it is rotated
	BackupCount int    `json:"backup_count"` // rotated files kept

	Format        string `json:"format"`                    // json or text
	FileRotation  bool   `json:"file_rotation"`             // false: it grows without end
	MaxFileSizeMB int64  `json:"max_file_size_mb,omitzero"` // 0: see MaxBytes
}

// RotateAt gives the size at which the readable log is rotated; negative for
// never.
func (l Logging) RotateAt() int64 {
	switch {
	case !l.FileRotation:
		return -1
	case l.MaxFileSizeMB > 0:
		return l.MaxFileSizeMB << 20
	}
	return l.MaxBytes
}

// LogConfig holds the verifiable log's settings.
type LogConfig struct {
	Anchor []Anchor `json:"anchor"`
}

// Anchor is one place that receives checkpoints; exactly one field is set.
// File and Git are resolved against the configuration's directory.
type Anchor struct {
	File    string `json:"file,omitempty"`
	Git     string `json:"git,omitempty"`
	Webhook string `json:"webhook,omitempty"`
}

// Endpoint says what a destination may receive.
type Endpoint struct {
	Clearance    string   `json:"clearance,omitempty"`     // a label; "" means public
	AllowPrivate []string `json:"allow_private,omitempty"` // host:port
}

// AgentSettings are the operator's settings for one agent.
type AgentSettings struct {
	Profile           string `json:"profile,omitempty"`           // "" means workspace
	CommandProtection string `json:"commandProtection,omitempty"` // none, manual, auto or ""
	Clearance         string `json:"clearance,omitempty"`         // a label; "" means public
	Memory            string `json:"memory,omitempty"`            // fixed label of its session note; "": what its profile's view shows

	SpendLimitDollars *float64 `json:"spendLimitDollars,omitempty"` // US dollars it may ever spend; nil: no such bound
	DayLimitDollars   *float64 `json:"dayLimitDollars,omitempty"`   // US dollars per UTC day
}

// Default gives the settings without any file.
func Default() *Config {
	c := defaults()
	c.Profiles = shippedProfiles()
	return c
}

// defaults is Default without profiles, for who adds layers to the shipped ones.
func defaults() *Config {
	return &Config{
		Security: Security{
			AllowedFilePaths: []string{},
			BlockedCommands:  []string{"format", "del", "rm -rf", "shutdown", "reboot", "mkfs"},

			SuspiciousKeywords: []string{}, DangerousKeywords: []string{}, SuspiciousAction: "alert", DangerousAction: "block",
			KeywordModes: map[string]string{}, Detectors: map[string]string{}, UnscannedAction: "alert", Canaries: []string{},
		},
		Tools:   Tools{CommandTimeout: 30},
		Logging: Logging{Level: "info", File: "logs/agent.log", MaxBytes: 10 << 20, BackupCount: 5, Format: "json", FileRotation: true},
		Log:     LogConfig{Anchor: []Anchor{}},
		Models:  shippedModels(),
		Endpoints: map[string]Endpoint{
			// What is rules inside this process gets what the views show; whoever
			// is remote gets public data until the operator says otherwise.
			"builtin":   {Clearance: "internal"},
			"anthropic": {Clearance: "public"},
			"openai":    {Clearance: "public"},
			"gemini":    {Clearance: "public"},
		},
		Agents:            map[string]AgentSettings{},
		Secrets:           shippedSecrets(),
		Policy:            []string{},
		ShellOutputTokens: 2500,
		DataMasking:       Masking{Enabled: true, Patterns: []MaskPattern{}},
		Monitoring:        Monitoring{Enabled: true, Channels: []string{}, AlertLevels: []string{"dangerous"}},
		Moderation:        Moderation{Action: "block", OnError: "block", Input: true, Output: true, Thresholds: map[string]float64{}},
		Proxy:             defaultProxy(),
		Alerts:            Alerts{Sinks: []AlertSink{}, Rules: []AlertRule{}, Off: []string{}},
		Organisation:      Organisation{ExtractBits: 16},
		Folders:           map[string]Folder{},
		Vault:             Vault{Root: "file"},
	}
}

//go:embed default.yaml
var defaultFile []byte

// DefaultFile gives the commented file that `sallyport init` writes; it says
// exactly what Default does.
func DefaultFile() []byte { return bytes.Clone(defaultFile) }

// Parse reads a configuration from bytes; name is used for positions, for the
// form (.json and .jsonc) and to resolve relative paths. Profile files lie
// between the shipped profiles and those of the configuration. The error is an
// Errors or an *Error of kind fault.Config.
func Parse(name string, data []byte, files ...ProfileFile) (*Config, error) {
	root, src, err := parseTree(name, data)
	if err != nil {
		return nil, err
	}
	cfg := defaults()
	cfg.Path = name
	if root.kind == nNull {
		if err := cfg.layer(nil, files); err != nil {
			return nil, err
		}
		return cfg, nil
	}
	table := configSpec()
	c := &checker{src: src, root: table}
	c.names(root)
	plain, _ := c.value(entry{line: root.line, col: root.col, val: root}, "", table, false).(map[string]any)
	if err := c.errs.err(); err != nil {
		return nil, err
	}
	own := ownProfiles(root, src, plain)
	delete(plain, "profiles") // bound when the layers are one
	if err := bind(plain, cfg); err != nil {
		return nil, err
	}
	if err := cfg.layer(own, files); err != nil {
		return nil, err
	}
	if err := cfg.references(root, src); err != nil {
		return nil, err
	}
	if err := cfg.organised(root, src).err(); err != nil {
		return nil, err
	}
	cfg.edgeNotices()
	cfg.complete(filepath.Dir(name))
	return cfg, nil
}

// bind fills the structure from checked values. It cannot fail unless table
// and structure disagree, which is a defect.
func bind(plain any, into any) error {
	b, err := json.Marshal(plain)
	if err != nil {
		return fault.Wrap("config.bind", fault.Internal, err)
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	return fault.Wrap("config.bind", fault.Internal, d.Decode(into))
}

// complete resolves paths that are written relative to the file.
func (c *Config) complete(dir string) {
	resolve := func(p string) string {
		if p == "" || filepath.IsAbs(p) {
			return p
		}
		return filepath.Join(dir, p)
	}
	for i := range c.Policy {
		c.Policy[i] = resolve(c.Policy[i])
	}
	if t := c.Proxy.TLS; t != nil {
		t.Cert, t.Key = resolve(t.Cert), resolve(t.Key)
	}
	for i := range c.Log.Anchor {
		c.Log.Anchor[i].File = resolve(c.Log.Anchor[i].File)
		c.Log.Anchor[i].Git = resolve(c.Log.Anchor[i].Git)
	}
}

// Load reads a configuration file; the empty path gives Default. Directories of
// profile files (see [LoadProfiles]) add to the shipped profiles.
func Load(path string, profileDirs ...string) (*Config, error) {
	var files []ProfileFile
	for _, dir := range profileDirs {
		more, err := LoadProfiles(dir)
		if err != nil {
			return nil, err
		}
		files = append(files, more...)
	}
	if path == "" {
		cfg := defaults()
		if err := cfg.layer(nil, files); err != nil {
			return nil, err
		}
		return cfg, nil
	}
	data, mode, err := readFile(path)
	if err != nil {
		return nil, err
	}
	cfg, err := Parse(path, data, files...)
	if err != nil {
		return nil, err
	}
	if mode.Perm()&0o022 != 0 {
		cfg.othersWrite = true
		cfg.Notices = append(cfg.Notices, fmt.Sprintf("%s can be written by other users, who can so change every rule; chmod go-w it", path))
	}
	return cfg, nil
}

// readFile reads a regular file of at most maxBytes (a little more is read, so
// that the parser can say it is too large).
func readFile(path string) ([]byte, fs.FileMode, error) {
	fail := func(problem, remedy string) ([]byte, fs.FileMode, error) {
		return nil, 0, &Error{Pos: Position{File: path}, Problem: problem, Remedy: remedy}
	}
	st, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fail("no such file", "check the path")
	case err != nil:
		return fail(reason(err), "make the file readable for this user")
	case st.IsDir():
		return fail("is a directory", "name a file in it")
	case !st.Mode().IsRegular():
		return fail("is not a regular file", "name a regular file")
	}
	f, err := os.Open(path)
	if err != nil {
		return fail(reason(err), "make the file readable for this user")
	}
	defer func() { _ = f.Close() }() // only read: nothing to lose
	data, err := io.ReadAll(io.LimitReader(f, maxBytes+16))
	if err != nil {
		return fail(reason(err), "check the disk")
	}
	return data, st.Mode(), nil
}

// reason strips the path, which the position already names.
func reason(err error) string {
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		return pe.Err.Error()
	}
	return err.Error()
}

// Lookup says where a configuration may be.
type Lookup struct {
	Explicit  string // --config; must exist when given
	AgentFile string // the agent file, or a directory of them; "" when there is none
	StateDir  string
}

var fileNames = []string{"sallyport.yaml", "sallyport.yml", "sallyport.json", "sallyport.jsonc"}

// IsConfigName tells whether a path is named as the configuration is, and so is
// no agent file.
func IsConfigName(path string) bool { return slices.Contains(fileNames, filepath.Base(path)) }

// Find gives the configuration file to use: the explicit one, else the one
// beside the agent file, else the one in the state directory. ok is false when
// there is none. Two of them in one directory, or one that cannot be examined,
// is an error: guessing could pick the weaker rules.
func Find(l Lookup) (path string, ok bool, err error) {
	if l.Explicit != "" {
		if _, _, err := readFile(l.Explicit); err != nil {
			return "", false, err
		}
		return l.Explicit, true, nil
	}
	dirs := make([]string, 0, 2)
	if l.AgentFile != "" {
		dir := filepath.Dir(l.AgentFile)
		if st, err := os.Stat(l.AgentFile); err == nil && st.IsDir() {
			dir = l.AgentFile
		}
		dirs = append(dirs, dir)
	}
	if l.StateDir != "" {
		dirs = append(dirs, l.StateDir)
	}
	for _, dir := range dirs {
		path, ok, err := findIn(dir)
		if ok || err != nil {
			return path, ok, err
		}
	}
	return "", false, nil
}

func findIn(dir string) (path string, ok bool, err error) {
	var found []string
	for _, name := range fileNames {
		p := filepath.Join(dir, name)
		_, err := os.Lstat(p)
		switch {
		case err == nil:
			found = append(found, p)
		case !errors.Is(err, fs.ErrNotExist):
			return "", false, &Error{Pos: Position{File: p}, Problem: reason(err), Remedy: "make the directory readable for this user"}
		}
	}
	switch len(found) {
	case 0:
		return "", false, nil
	case 1:
		return found[0], true, nil
	}
	return "", false, &Error{
		Pos: Position{File: dir}, Problem: "more than one configuration: " + strings.Join(found, ", "),
		Remedy: "keep one, or name one with --config",
	}
}
