package screen

import (
	"crypto/pbkdf2"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"sallyport/internal/fault"
	"sallyport/internal/scan"
)

// Settings are what the operator wants of texts.
type Settings struct {
	// The two lists. A word on both counts as dangerous. List, and Severity if
	// it is 0, are filled in.
	Dangerous, Suspicious []scan.Keyword
	// What their words lead to; Pass stands for the default, Block and Alert.
	DangerousAction, SuspiciousAction Action
	// Detectors says what a class of built-in detectors leads to: secret, pii,
	// injection, invisible, terminal, exfil, paths, call. A class that is not
	// named has the defaults of Default; Pass switches it off. Known secrets
	// block whatever stands here.
	Detectors map[string]Action
	// Unscanned is what a text leads to that was not read wholly; Pass stands
	// for the default, Alert.
	Unscanned Action
	// Secrets are values that must not pass, and canaries.
	Secrets []scan.Secret
}

// Classes are the names that Settings.Detectors takes.
func Classes() []string {
	return []string{"secret", "pii", "injection", "invisible", "terminal", "exfil", "paths", "call"}
}

// knownSecret is the rule of exact secrets.
const knownSecret = "secret.known"

// Default gives what a rule leads to when the operator wrote nothing about its
// class: known secrets block; forms of secrets that belong to one vendor, text
// in characters that nobody sees and terminal escapes raise an alert; all else
// is written down.
func Default(r scan.Rule) Action {
	a := Log
	switch class, _, _ := strings.Cut(r.ID, "."); {
	case r.ID == knownSecret:
		a = Block
	case class == "secret" && r.Block, r.ID == "invisible.tags", r.ID == "invisible.selectors", r.ID == "terminal.escape":
		a = Alert
	}
	return a
}

// Screen judges texts. It is immutable and safe for concurrent use.
type Screen struct {
	engine    *scan.Engine
	hits      map[string]Hit // by rule, with the rule's title as detail
	unscanned Action
	digest    string
	scanners  sync.Pool // of *scan.Scanner, which are worth using again
}

// New compiles settings. An error (fault.Config) names what is wrong with them.
func New(s Settings) (*Screen, error) {
	def := func(a *Action, d Action) {
		if *a == Pass {
			*a = d
		}
	}
	def(&s.DangerousAction, Block)
	def(&s.SuspiciousAction, Alert)
	def(&s.Unscanned, Alert)
	for _, a := range append(slices.Collect(maps.Values(s.Detectors)), s.DangerousAction, s.SuspiciousAction, s.Unscanned) {
		if a > Block {
			return nil, fault.New("screen.new", fault.Config, "the number %d is no action of a screen; actions are log, alert, ask and block", a)
		}
	}
	for class := range s.Detectors {
		if !slices.Contains(Classes(), class) {
			return nil, fault.New("screen.new", fault.Config, "there is no detector class %q; classes are %s", class, strings.Join(Classes(), ", "))
		}
	}
	o := scan.Options{Keywords: s.keywords(), Secrets: s.Secrets, Classes: []string{}}
	for _, class := range Classes() {
		if a, ok := s.Detectors[class]; class != "call" && (!ok || a != Pass) {
			o.Classes = append(o.Classes, class)
		}
	}
	e, err := scan.Compile(o)
	if err != nil {
		return nil, err
	}
	out := &Screen{engine: e, hits: map[string]Hit{}, unscanned: s.Unscanned}
	for _, r := range e.Rules() {
		out.hits[r.ID] = s.hit(r)
	}
	out.digest, err = s.sum(e)
	out.scanners.New = func() any { return e.NewScanner() }
	return out, err
}

// keywords gives both lists, named, the dangerous ones first.
func (s *Settings) keywords() []scan.Keyword {
	s.Dangerous, s.Suspicious = slices.Clone(s.Dangerous), slices.Clone(s.Suspicious)
	named := func(list []scan.Keyword, name string, severity int) {
		for i := range list {
			list[i].List = name
			if list[i].Severity == 0 {
				list[i].Severity = severity
			}
		}
	}
	named(s.Dangerous, dangerous, scan.High)
	named(s.Suspicious, suspicious, scan.Medium)
	return slices.Concat(s.Dangerous, s.Suspicious)
}

// hit says what a finding of a rule leads to.
func (s *Settings) hit(r scan.Rule) Hit {
	h := Hit{Source: SourceDetectors, Rule: r.ID, Detail: r.Title, Action: Default(r)}
	class, name, _ := strings.Cut(r.ID, ".")
	switch {
	case r.ID == "keyword."+dangerous:
		h.Source, h.Action = SourceDangerous, s.DangerousAction
	case class == "keyword":
		h.Source, h.Action = SourceSuspicious, s.SuspiciousAction
	case class == "secret" && name == "known":
	default:
		a, written := s.Detectors[class]
		if written {
			h.Action = a
		}
		if !written && !r.Block {
			h.Action = min(h.Action, Ask)
		}
	}
	return h
}

// stretch makes guessing a secret from the digest dear: about 10 ms a guess.
const stretch = 1 << 15

// sum identifies settings and rules.
func (s *Settings) sum(e *scan.Engine) (string, error) {
	plain := *s
	plain.Secrets = nil
	text, err := json.Marshal(struct {
		Settings Settings
		Names    []string
		Rules    []scan.Rule
	}{plain, names(s.Secrets), e.Rules()})
	if err != nil {
		return "", fault.Wrap("screen.digest", fault.Internal, err)
	}
	sum := sha256.Sum256(text)
	if len(s.Secrets) > 0 {
		var values strings.Builder
		for _, x := range s.Secrets {
			fmt.Fprintf(&values, "%d:%s", len(x.Value), x.Value)
		}
		key, err := pbkdf2.Key(sha256.New, values.String(), sum[:], stretch, len(sum))
		if err != nil {
			return "", fault.Wrap("screen.digest", fault.Internal, err)
		}
		copy(sum[:], key)
	}
	return hex.EncodeToString(sum[:]), nil
}

func names(secrets []scan.Secret) []string {
	var out []string
	for _, s := range secrets {
		out = append(out, s.Name)
	}
	return out
}

// Digest identifies the settings and the built-in rules by name, in 64 hex
// digits, for caches of verdicts. It is the same for equal settings of one
// version of the program; a cache that outlives it adds the version. The
// secrets are in it in a form that is slow to guess from.
func (s *Screen) Digest() string { return s.digest }
