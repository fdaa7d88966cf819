package app

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"sallyport/internal/action"
	"sallyport/internal/config"
	"sallyport/internal/fault"
	"sallyport/internal/policy"
	"sallyport/internal/record"
	"sallyport/internal/scan"
	"sallyport/internal/scan/mask"
	"sallyport/internal/scan/screen"
)

// screening reads the texts of actions as the settings say. One is made for an
// App; nil Screen means that it could not be made and nothing starts.
type screening struct {
	screen *screen.Screen
}

var keywordModes = map[string]scan.Mode{"word": scan.Word, "substring": scan.Substring, "regex": scan.Regex, "command": scan.Command}

var screenActions = map[string]screen.Action{"log": screen.Log, "alert": screen.Alert, "ask": screen.Ask, "block": screen.Block}

// knownSecrets are the values that must appear nowhere: canaries, the keys of
// providers, and secrets that come from variables.
func knownSecrets(c *config.Config, env *config.Env) []scan.Secret {
	var out []scan.Secret
	for i, value := range c.Security.Canaries {
		out = append(out, scan.Secret{Name: fmt.Sprintf("canary %d", i+1), Value: value})
	}
	names := map[string]bool{}
	for _, vendor := range modelVendors {
		u, _ := c.Upstream(vendor)
		names[u.KeyEnv] = true
	}
	for _, m := range c.Models {
		names[m.KeyEnv] = true
	}
	for _, s := range c.Secrets {
		names[s.From.Env] = true
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		// A short value would be found in words.
		if value, _ := env.Lookup(name); name != "" && len(value) >= leastKey && len(value) <= 4096 {
			out = append(out, scan.Secret{Name: name, Value: value})
		}
	}
	return out
}

// leastKey is the fewest bytes of a key that is looked for, as providers make
// them.
const leastKey = 20

// newScreening compiles the operator's lists and the built-in detectors.
func newScreening(c *config.Config, env *config.Env) (*screening, error) {
	s := c.Security
	for _, word := range slices.Sorted(maps.Keys(s.KeywordModes)) {
		if !slices.Contains(s.DangerousKeywords, word) && !slices.Contains(s.SuspiciousKeywords, word) {
			return nil, fault.New("app.screen", fault.Config, "security.keyword_modes: %q is in neither list; add it there, or remove its mode", word)
		}
	}
	set := screen.Settings{
		Dangerous: keywordsOf(s.DangerousKeywords, s.KeywordModes), DangerousAction: screenActions[s.DangerousAction],
		Suspicious: keywordsOf(s.SuspiciousKeywords, s.KeywordModes), SuspiciousAction: screenActions[s.SuspiciousAction],
		Secrets: knownSecrets(c, env), Detectors: map[string]screen.Action{}, Unscanned: screenActions[s.UnscannedAction],
	}
	for class, act := range s.Detectors {
		set.Detectors[class] = screenActions[act]
	}
	sc, err := screen.New(set)
	if err != nil {
		return nil, fault.Wrap("app.screen", fault.Config, err)
	}
	return &screening{screen: sc}, nil
}

func keywordsOf(words []string, modes map[string]string) []scan.Keyword {
	out := make([]scan.Keyword, len(words))
	for i, w := range words {
		out[i] = scan.Keyword{Text: w, Mode: keywordModes[modes[w]]} // the zero Mode decides by the word
	}
	return out
}

// newMasker makes what hides values before they are stored; nil for nothing.
func newMasker(c *config.Config, env *config.Env) (*mask.Masker, error) {
	if !c.DataMasking.Enabled {
		return nil, nil //nolint:nilnil // nil masks nothing
	}
	patterns := make([]mask.Pattern, len(c.DataMasking.Patterns))
	for i, p := range c.DataMasking.Patterns {
		patterns[i] = mask.Pattern{Name: p.Name, Regex: p.Regex, Replacement: p.Replacement}
	}
	m, err := mask.New(patterns, mask.Options{Secrets: knownSecrets(c, env)})
	return m, fault.Wrap("app.mask", fault.Config, err)
}

// lazyScreening makes a screening when the first text is to be read: most
// commands read none.
type lazyScreening struct {
	cfg  *config.Config
	env  *config.Env
	once sync.Once
	made *screening
	err  error
}

func (l *lazyScreening) get() (*screening, error) {
	l.once.Do(func() { l.made, l.err = newScreening(l.cfg, l.env) })
	return l.made, l.err
}

// read implements policy.Settings.Screen. What cannot be read is refused.
func (l *lazyScreening) read(a action.Action) policy.Screening {
	s, err := l.get()
	if err != nil {
		return policy.Screening{Items: []string{screen.SourceUnscanned + ".block"}, Because: fault.PublicText(err)}
	}
	return s.read(a)
}

// read tells policy what the texts of an action show. What came through the
// model proxy was read there, piece by piece, and says so in its arguments.
func (s *screening) read(a action.Action) policy.Screening {
	if _, ok := a.Args["screen"]; ok {
		return told(a)
	}
	var v screen.Verdict
	switch a.Kind {
	case action.ModelCall: // earlier messages were read when they were the last
		v = s.screen.Text([]byte(lastMessage(a)))
	case action.Exec:
		v = s.screen.Arguments(marshalScript(a.Arg("script")))
	default:
		for _, name := range slices.Sorted(maps.Keys(a.Args)) {
			if text, ok := a.Args[name].(string); ok {
				v = v.Join(s.screen.Text([]byte(text)))
			}
		}
	}
	return policy.Screening{Items: v.Items(), Because: becauseOf(v), Findings: weighed(v)}
}

// weighed gives the findings the weight of their verdict: how bad an event is
// follows from what the settings make of a finding, not from its rule.
func weighed(v screen.Verdict) []record.Finding {
	most := map[string]int{"dangerous": scan.Critical, "suspicious": scan.Medium}[v.Alert]
	out := slices.Clone(v.Findings)
	for i := range out {
		out[i].Severity = min(out[i].Severity, most)
	}
	return out
}

// told reads what the proxy wrote into an action.
func told(a action.Action) policy.Screening {
	out := policy.Screening{Because: a.Arg("screen_because")}
	list, _ := a.Args["screen"].([]any)
	for _, item := range list {
		if text, ok := item.(string); ok {
			out.Items = append(out.Items, text)
		}
	}
	if severity := map[string]int{"suspicious": scan.Low, "dangerous": scan.High}[a.Arg("alert")]; severity > 0 {
		out.Findings = []record.Finding{{Rule: "screen." + a.Arg("alert"), Severity: severity, Confidence: 1, Detail: out.Because}}
	}
	return out
}

// lastMessage is the newest message of a model call.
func lastMessage(a action.Action) string {
	msgs, _ := a.Args["messages"].([]any)
	if len(msgs) == 0 {
		return ""
	}
	m, _ := msgs[len(msgs)-1].(map[string]any)
	text, _ := m["text"].(string)
	return text
}

// marshalScript puts a script where a tool's arguments have one.
func marshalScript(script string) []byte {
	b, err := action.Canonical(map[string]any{"command": script})
	if err != nil {
		return []byte(script) // no JSON: it is read as text and marked unscanned
	}
	return b
}

// becauseOf says in one clause what was found.
func becauseOf(v screen.Verdict) string {
	var parts []string
	for _, h := range v.Hits {
		if h.Action < screen.Ask || len(parts) == 3 {
			break
		}
		// Not the word itself: the sentence comes back with the next message.
		if part := h.Source + " (" + h.Rule + ")"; !slices.Contains(parts, part) {
			parts = append(parts, part)
		}
	}
	if len(parts) == 0 {
		return ""
	}
	return "the text was found by " + strings.Join(parts, ", ")
}
