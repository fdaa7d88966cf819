package app

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"sallyport/internal/action"
	"sallyport/internal/auth"
	"sallyport/internal/config"
	"sallyport/internal/fault"
	"sallyport/internal/label"
	"sallyport/internal/llmproxy/wire"
	"sallyport/internal/record"
)

// KeyRequest describes an API key that is to be made.
type KeyRequest struct {
	Name     string        // for people; unique among keys that are not revoked
	Agent    string        // on whose behalf its calls are made; "" means Name
	Roles    []string      // agent, ingest, metrics; empty means agent
	Ceiling  string        // highest label its context may get; "" means the agent's clearance, else public
	Client   string        // which client's form of answers; "" means by what it says
	Expires  time.Duration // from now; 0 means 90 days
	Limit    float64       // US dollars it may ever spend; NoLimit, or 0 to 1,000,000
	Day      float64       // US dollars per UTC day; NoLimit, or 0 to 1,000,000
	Requests int           // per minute; 0 = no limit
	Tokens   int           // per minute; 0 = no limit
}

// KeyInfo is what is shown of a key; never the key.
type KeyInfo struct {
	ID                string     `json:"id"`
	Name              string     `json:"name"`
	Agent             string     `json:"agent"`
	Roles             []string   `json:"roles"`
	Ceiling           string     `json:"ceiling"`
	Client            string     `json:"client,omitempty"`
	State             string     `json:"state"` // live, expired or revoked
	Created           time.Time  `json:"created"`
	Expires           time.Time  `json:"expires"`
	LastUsed          *time.Time `json:"last_used,omitempty"`
	LimitDollars      *float64   `json:"limit_dollars,omitempty"`
	DayDollars        *float64   `json:"day_dollars,omitempty"`
	RequestsPerMinute int        `json:"requests_per_minute,omitempty"`
	TokensPerMinute   int        `json:"tokens_per_minute,omitempty"`
}

// NoLimit as an amount of dollars bounds nothing.
const NoLimit float64 = -1

// maxKeyDollars bounds an amount: what is larger is a mistake in typing.
const maxKeyDollars = 1e6

// defaultKeyLife is how long a key is good for when nobody says.
const defaultKeyLife = 90 * 24 * time.Hour

// maxKeyLife bounds it: what nobody renews should end by itself.
const maxKeyLife = 3 * 365 * 24 * time.Hour

var keyRoles = []string{record.RoleAgent, record.RoleIngest, record.RoleMetrics}

// contextOfKey names the one context of a key: its label only rises, whatever
// history a client drops.
func contextOfKey(id string) string { return "key-" + id }

// CreateKey makes a key and the context of its calls. The token is given once.
func (a *App) CreateKey(ctx context.Context, r KeyRequest, by string) (KeyInfo, string, error) {
	k, err := a.newKey(r)
	if err != nil {
		return KeyInfo{}, "", err
	}
	token, hash := auth.NewToken()
	k.Hash = hash
	st, err := a.Store(ctx)
	if err != nil {
		return KeyInfo{}, "", err
	}
	diff := fmt.Sprintf("create API key %s (%s) for agent %s, roles %s, ceiling %s, until %s", k.Name, k.ID, k.Agent, k.Role, k.Ceiling, k.Expires.Format(time.RFC3339))
	act := action.Action{Kind: action.ConfigChange, Target: "keys/" + k.Name, Args: map[string]any{"diff": diff}}
	if err := a.steer(ctx, act, func(ctx context.Context) error { return st.PutKey(ctx, k, by) }); err != nil {
		return KeyInfo{}, "", err
	}
	with := a.withKeyAgents([]record.APIKey{k})
	err = with.steer(ctx, action.Action{
		Kind: action.AgentSpawn, Target: k.Agent, Session: contextOfKey(k.ID), Args: map[string]any{
			"agent": k.Agent, "context": contextOfKey(k.ID), "label": label.New(label.Public, label.Member, 0).String(), "ceiling": k.Ceiling.String(), "budget": int64(k.LimitMicros),
		},
	}, func(context.Context) error { return nil })
	if err != nil {
		return KeyInfo{}, "", fmt.Errorf("the key was made but has no context, so revoke it: %w", err)
	}
	return keyInfo(k, time.Now()), token, nil
}

func (a *App) newKey(r KeyRequest) (record.APIKey, error) {
	bad := func(format string, args ...any) (record.APIKey, error) {
		return record.APIKey{}, fault.New("app.keys", fault.Usage, format, args...)
	}
	r.Agent = cmp.Or(r.Agent, r.Name)
	for _, name := range []string{r.Name, r.Agent} {
		if !config.ValidUsername(name) {
			return bad("%.40q is no name; use 1 to 32 of a-z, 0-9, _ and -", name)
		}
	}
	for _, d := range []struct {
		flag  string
		value float64
	}{{"--limit", r.Limit}, {"--day", r.Day}} {
		if math.IsNaN(d.value) || d.value > maxKeyDollars || d.value < 0 && d.value != NoLimit {
			return bad("%s: %v is no amount of dollars; use 0 to %d, or leave it out for no limit", d.flag, d.value, int(maxKeyDollars))
		}
	}
	if r.Client != "" && !slices.Contains(wire.Clients(), wire.Client(r.Client)) {
		return bad("no client is called %.40q; leave --client out, or see `sallyport keys create --help`", r.Client)
	}
	if len(r.Roles) == 0 {
		r.Roles = []string{record.RoleAgent}
	}
	for _, role := range r.Roles {
		if !slices.Contains(keyRoles, role) {
			return bad("there is no role %q; roles are %s", role, strings.Join(keyRoles, ", "))
		}
	}
	if r.Expires == 0 {
		r.Expires = defaultKeyLife
	}
	if r.Expires < time.Minute || r.Expires > maxKeyLife {
		return bad("a key lives from a minute to three years, not %s", r.Expires)
	}
	set, configured := a.Config.Agents[r.Agent]
	ceiling, err := a.Config.Scheme().Parse(cmp.Or(r.Ceiling, set.Clearance, "public"))
	if err != nil {
		return bad("--ceiling: %v", err)
	}
	if configured {
		clearance, err := label.Parse(a.Config.Agent(r.Agent).Clearance)
		if err != nil || !ceiling.ConfFlowsTo(clearance) {
			return bad("the ceiling %s is above agents.%s.clearance (%s); raise that in sallyport.yaml, or lower the ceiling",
				a.ShowLabel(ceiling.String()), r.Agent, a.ShowLabel(clearance.String()))
		}
	}
	ceiling.Integrity = label.Foreign // a ceiling bounds secrets; anything may lower trust
	now := time.Now().UTC()
	return record.APIKey{
		ID: newKeyID(), Name: r.Name, Agent: r.Agent, Role: strings.Join(r.Roles, ","), Ceiling: ceiling, Client: r.Client,
		Created: now, Expires: now.Add(r.Expires), LimitMicros: limitOf(r.Limit), DayMicros: limitOf(r.Day),
		RequestsPerMinute: r.Requests, TokensPerMinute: r.Tokens,
	}, nil
}

func limitOf(dollars float64) record.Micros {
	if dollars < 0 {
		return -1
	}
	return microsOf(dollars)
}

// Keys lists the keys, newest first.
func (a *App) Keys(ctx context.Context) ([]KeyInfo, error) {
	out := []KeyInfo{}
	st, ok, err := a.reader(ctx)
	if err != nil || !ok {
		return out, err
	}
	keys, err := st.Keys(ctx)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	for _, k := range keys {
		out = append(out, keyInfo(k, now))
	}
	slices.SortStableFunc(out, func(x, y KeyInfo) int { return y.Created.Compare(x.Created) })
	return out, nil
}

// RevokeKey ends a key, by id or name, from the next request on.
func (a *App) RevokeKey(ctx context.Context, name, by string) (KeyInfo, error) {
	keys, err := a.Keys(ctx)
	if err != nil {
		return KeyInfo{}, err
	}
	i := slices.IndexFunc(keys, func(k KeyInfo) bool { return (k.ID == name || k.Name == name) && k.State != "revoked" })
	if i < 0 {
		return KeyInfo{}, fault.New("app.keys", fault.NotFound, "no API key %q is live; `sallyport keys list` shows them", name)
	}
	st, err := a.Store(ctx)
	if err != nil {
		return KeyInfo{}, err
	}
	k := keys[i]
	act := action.Action{Kind: action.ConfigChange, Target: "keys/" + k.Name, Args: map[string]any{"diff": "revoke API key " + k.Name + " (" + k.ID + ")"}}
	if err := a.steer(ctx, act, func(ctx context.Context) error { return st.RevokeKey(ctx, k.ID, by) }); err != nil {
		return KeyInfo{}, err
	}
	k.State = "revoked"
	return k, nil
}

func keyInfo(k record.APIKey, now time.Time) KeyInfo {
	out := KeyInfo{
		ID: k.ID, Name: k.Name, Agent: k.Agent, Roles: strings.Split(k.Role, ","), Ceiling: k.Ceiling.String(), Client: k.Client,
		State: "live", Created: k.Created, Expires: k.Expires, RequestsPerMinute: k.RequestsPerMinute, TokensPerMinute: k.TokensPerMinute,
	}
	switch {
	case !k.Revoked.IsZero():
		out.State = "revoked"
	case !now.Before(k.Expires):
		out.State = "expired"
	}
	if !k.LastUsed.IsZero() {
		out.LastUsed = &k.LastUsed
	}
	for dst, m := range map[**float64]record.Micros{&out.LimitDollars: k.LimitMicros, &out.DayDollars: k.DayMicros} {
		if m >= 0 {
			d := m.Dollars()
			*dst = &d
		}
	}
	return out
}

// withKeyAgents gives the same installation with the agents of keys known: a
// key is the operator's word for its agent, up to its ceiling.
func (a *App) withKeyAgents(keys []record.APIKey) *App {
	b, cfg := *a, *a.Config
	cfg.Agents = maps.Clone(cfg.Agents)
	if cfg.Agents == nil {
		cfg.Agents = map[string]config.AgentSettings{}
	}
	clearance := map[string]label.Label{}
	for _, k := range keys {
		if _, configured := a.Config.Agents[k.Agent]; configured || !k.Revoked.IsZero() {
			continue
		}
		c, ok := clearance[k.Agent]
		if !ok {
			c = k.Ceiling
		}
		clearance[k.Agent] = c.Join(k.Ceiling)
		cfg.Agents[k.Agent] = config.AgentSettings{Clearance: clearance[k.Agent].String()}
	}
	b.Config = &cfg
	return &b
}

// newKeyID makes a short random name without a colon, which accounts need.
func newKeyID() string { return strings.ToLower(rand.Text()[:8]) }
