package policy

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/cedar-policy/cedar-go"
	publicast "github.com/cedar-policy/cedar-go/ast"
	"github.com/cedar-policy/cedar-go/types"
	"github.com/cedar-policy/cedar-go/x/exp/ast"

	"sallyport/internal/action"
	"sallyport/internal/label"
	"sallyport/internal/record"
)

// Rule is one policy of the set in force.
type Rule struct {
	ID      string
	Origin  string        // the setting or file:line:column it comes from
	Effect  string        // permit, forbid or ask
	Kinds   []action.Kind // the kinds it can match
	Text    string        // Cedar
	Because string        // its sentence; decisions may give a more exact one
	Ask     string        // "2:owner" for an ask, else empty

	needs  []record.Need
	policy *cedar.Policy
	eval   *cedar.Policy // the same without the action scope, which the index decides
	pid    types.PolicyID
}

// Engine decides. It is immutable and safe for concurrent use.
type Engine struct {
	settings Settings
	groups   []string // approval groups, "owner" first
	rules    []*Rule
	byID     map[types.PolicyID]*Rule
	byKind   map[action.Kind]*index
	digest   string

	validators   *validators // used by New only, except for all, which is immutable
	sinks        targets[*Sink]
	results      targets[label.Label]
	networks     map[string]*network // by profile
	agentRecords map[agentKey]types.Record
	noApprovals  types.Record
	shared       *shared
}

// index holds the rules of one kind. A rule whose scope names one resource or
// one principal can match nothing else, so it is found by that name.
type index struct {
	general     []*Rule
	byResource  map[types.String][]*Rule
	byPrincipal map[types.EntityUID][]*Rule
}

// New generates, parses and validates the whole set. An error names
// file:line:column of the first rule that cannot be used.
func New(s Settings) (*Engine, error) {
	if err := s.check(); err != nil {
		return nil, err
	}
	e := &Engine{
		settings: s, byID: map[types.PolicyID]*Rule{}, byKind: map[action.Kind]*index{},
		agentRecords: map[agentKey]types.Record{}, networks: map[string]*network{}, shared: newShared(),
	}
	e.groups = append([]string{ownerGroup}, slices.DeleteFunc(slices.Sorted(slices.Values(s.Groups)), func(g string) bool { return g == ownerGroup })...)
	e.groups = slices.Compact(e.groups)
	var err error
	if e.validators, err = newValidators(e.groups); err != nil {
		return nil, err
	}
	for _, g := range s.generate() {
		if err := e.load("built in", g.text(), g.origin); err != nil {
			return nil, err
		}
	}
	for _, src := range s.Extra {
		if err := e.load(src.Name, src.Text, ""); err != nil {
			return nil, err
		}
	}
	e.prepare()
	e.digest, err = e.computeDigest()
	return e, err
}

// prepare builds in advance what requests share.
func (e *Engine) prepare() {
	e.settings.Sinks = slices.Clone(e.settings.Sinks)
	for i := range e.settings.Sinks {
		s := &e.settings.Sinks[i]
		e.sinks.add(s.Kind, s.Target, s)
	}
	for _, r := range e.settings.Results {
		e.results.add(r.Kind, r.Target, r.Label)
	}
	for name, p := range e.settings.Profiles {
		e.networks[name] = newNetwork(slices.Clone(p.Network))
	}
	for name, a := range e.settings.Agents {
		for _, self := range []bool{false, true} {
			k := agentKey{name, self}
			e.agentRecords[k] = makeAgentRecord(k, a, e.settings.Profiles[a.Profile], true)
		}
	}
	none := types.RecordMap{}
	for _, g := range e.groups {
		none[types.String(g)] = types.Long(0)
	}
	e.noApprovals = types.NewRecord(none)
}

// SetDigest identifies the policy set in force: the rules and the settings
// that decisions depend on, as 64 hex digits.
func (e *Engine) SetDigest() string { return e.digest }

// Rules gives the whole set, generated rules first; the caller owns the copy.
func (e *Engine) Rules() []Rule {
	out := make([]Rule, len(e.rules))
	for i, r := range e.rules {
		out[i] = *r
		out[i].Kinds = slices.Clone(r.Kinds)
	}
	return out
}

func (e *Engine) computeDigest() (string, error) {
	texts := make([]string, len(e.rules))
	for i, r := range e.rules {
		texts[i] = r.Text
	}
	s := e.settings
	b, err := json.Marshal(map[string]any{
		"rules": texts, "read_only": s.ReadOnly, "profiles": s.Profiles, "agents": s.Agents, "sinks": s.Sinks,
		"results": s.Results, "blocked": s.BlockedCommands, "paths": s.AllowedPaths, "groups": e.groups,
		"secrets": s.Secrets, "quorums": s.Quorums, "instructable": s.Instructable, "scheme": s.Scheme,
	})
	if err != nil {
		return "", fmt.Errorf("policy: digest: %w", err)
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:]), nil
}

// load parses, checks and indexes one document.
func (e *Engine) load(name, text, origin string) error {
	list, err := cedar.NewPolicyListFromBytes(name, []byte(text))
	if err != nil {
		return fmt.Errorf("policy: %w", position(name, err))
	}
	for _, p := range list {
		pos := p.Position()
		where := fmt.Sprintf("%s:%d:%d", name, pos.Line, pos.Column)
		r, err := e.compile(p)
		if err != nil {
			return fmt.Errorf("policy: %s: %w", where, err)
		}
		if r.Origin = origin; origin == "" {
			r.Origin = where
		}
		e.rules = append(e.rules, r)
		e.byID[r.pid] = r
		e.index(r)
	}
	return nil
}

// position turns the parser's own way of telling a place into file:line:column.
func position(name string, err error) error {
	m := parserPlace.FindStringSubmatch(err.Error())
	if m == nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return fmt.Errorf("%s:%s:%s: syntax: %s", name, m[1], m[2], m[3])
}

var parserPlace = regexp.MustCompile(`^.*?parse error at <input>:(\d+):(\d+) ?(.*)$`)

var ruleID = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$`)

func (e *Engine) compile(p *cedar.Policy) (*Rule, error) {
	r := &Rule{policy: p, Effect: "permit", Text: string(p.MarshalCedar())}
	if p.Effect() == cedar.Forbid {
		r.Effect = "forbid"
	}
	for _, key := range slices.Sorted(maps.Keys(p.Annotations())) {
		value := string(p.Annotations()[key])
		switch key {
		case "id":
			r.ID = value
		case "because":
			r.Because = value
		case "ask":
			r.Ask = value
		default:
			return nil, fmt.Errorf("unknown annotation @%s: use @id, @ask or @because", key)
		}
	}
	if !ruleID.MatchString(r.ID) {
		return nil, fmt.Errorf("a policy needs @id(\"name\") of letters, digits, dots, - and _; got %q", r.ID)
	}
	r.pid = types.PolicyID(r.ID)
	if other, dup := e.byID[r.pid]; dup {
		return nil, fmt.Errorf("@id %q is taken by %s", r.ID, other.Origin)
	}
	if r.Ask != "" {
		if r.Effect == "permit" {
			return nil, fmt.Errorf("%s: @ask belongs on a forbid with an unless {context.approval…}, not on a permit", r.ID)
		}
		r.Effect = "ask"
		var err error
		if r.needs, err = e.parseAsk(r.Ask); err != nil {
			return nil, fmt.Errorf("%s: %w", r.ID, err)
		}
	}
	r.Kinds = kindsOf(astOf(p).Action)
	validator := e.validators.forPolicy(r.Kinds, namedActions(astOf(p).Action))
	if err := validator.Policy(r.ID, astOf(p)); err != nil {
		return nil, err
	}
	r.eval = withoutAction(p)
	return r, nil
}

// parseAsk reads "2:owner" or "1:owner,2:finance".
func (e *Engine) parseAsk(s string) ([]record.Need, error) {
	var needs []record.Need
	for part := range strings.SplitSeq(s, ",") {
		count, group, _ := strings.Cut(strings.TrimSpace(part), ":")
		n, err := strconv.Atoi(count)
		if err != nil || n < 1 || n > 100 || !slices.Contains(e.groups, group) {
			return nil, fmt.Errorf("@ask(%q) is not \"count:group\" with a group of %s", s, strings.Join(e.groups, ", "))
		}
		needs = append(needs, record.Need{Count: n, Group: group})
	}
	return needs, nil
}

// withoutAction drops the action scope: a rule is only evaluated for the kinds
// it names, and comparing with a set of actions is what costs most.
func withoutAction(p *cedar.Policy) *cedar.Policy {
	tree := *astOf(p)
	tree.Action = ast.ScopeTypeAll{}
	return fromAST(&tree)
}

// namedActions counts the actions that a scope names, known or not.
func namedActions(s ast.IsActionScopeNode) int {
	switch s := s.(type) {
	case ast.ScopeTypeEq:
		return 1
	case ast.ScopeTypeInSet:
		return len(s.Entities)
	default:
		return 0
	}
}

func kindsOf(s ast.IsActionScopeNode) []action.Kind {
	var want func(types.EntityUID) bool
	switch s := s.(type) {
	case ast.ScopeTypeEq:
		want = func(u types.EntityUID) bool { return u == s.Entity }
	case ast.ScopeTypeIn:
		want = func(u types.EntityUID) bool { return u == s.Entity }
	case ast.ScopeTypeInSet:
		want = func(u types.EntityUID) bool { return slices.Contains(s.Entities, u) }
	default:
		want = func(types.EntityUID) bool { return true }
	}
	return kindsWhere(func(r action.Row) bool { return want(actionUID(r.Kind)) })
}

func (e *Engine) index(r *Rule) {
	resource, byResource := astOf(r.policy).Resource.(ast.ScopeTypeEq)
	principal, byPrincipal := astOf(r.policy).Principal.(ast.ScopeTypeEq)
	for _, k := range r.Kinds {
		ix := e.byKind[k]
		if ix == nil {
			ix = &index{byResource: map[types.String][]*Rule{}, byPrincipal: map[types.EntityUID][]*Rule{}}
			e.byKind[k] = ix
		}
		switch {
		case byResource && resource.Entity.Type == resourceTypes[k]:
			ix.byResource[resource.Entity.ID] = append(ix.byResource[resource.Entity.ID], r)
		case byResource: // another kind's resource: it never matches here
		case byPrincipal:
			ix.byPrincipal[principal.Entity] = append(ix.byPrincipal[principal.Entity], r)
		default:
			ix.general = append(ix.general, r)
		}
	}
}

// astOf gives the tree in the type that validator and evaluator take.
func astOf(p *cedar.Policy) *ast.Policy { return (*ast.Policy)(p.AST()) }

func fromAST(p *ast.Policy) *cedar.Policy { return cedar.NewPolicyFromAST((*publicast.Policy)(p)) }
