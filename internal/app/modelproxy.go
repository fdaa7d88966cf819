package app

import (
	"cmp"
	"net/http"
	"net/url"
	"strings"
	"time"

	"sallyport/internal/action"
	"sallyport/internal/config"
	"sallyport/internal/egress"
	"sallyport/internal/fault"
	"sallyport/internal/label"
	"sallyport/internal/llm"
	"sallyport/internal/llm/price"
	"sallyport/internal/llmproxy"
	"sallyport/internal/llmproxy/wire"
	"sallyport/internal/policy"
	"sallyport/internal/record"
)

// assumedOutput is what is reserved for a call that names no bound of its
// output, in tokens. Its real cost is settled whatever it is.
const assumedOutput = 32_768

// assumedHistory is what is reserved for a history that the provider keeps, in
// tokens: the request does not say how long it is.
const assumedHistory = 200_000

// maxChoices is the most replies that a call is reserved for one by one.
const maxChoices = 1 << 16

// upstreams finds where models are served and what they cost.
type upstreams struct {
	cfg    *config.Config
	env    *config.Env
	client http.RoundTripper
	table  *price.Table
}

func newUpstreams(cfg *config.Config, env *config.Env) (*upstreams, error) {
	rules, err := dialRules(cfg, env)
	if err != nil {
		return nil, err
	}
	for _, vendor := range []string{"openai", "anthropic", "gemini"} {
		// An address on this machine that the operator wrote down is meant.
		if u, _ := cfg.Upstream(vendor); u.BaseURL != "" {
			if hp, local := localAddress(u.BaseURL); local {
				rule, err := egress.ParseRule(hp)
				if err != nil {
					return nil, fault.Wrap("app.upstream", fault.Config, err)
				}
				rules = append(rules, rule)
			}
		}
	}
	table, err := price.Shipped()
	if err != nil {
		return nil, fault.Wrap("app.upstream", fault.Internal, err)
	}
	client := egress.New(egress.Config{Allow: rules}).Client(egress.ClientOptions{MaxConnsPerHost: maxModelConns, MaxIdlePerHost: maxModelConns})
	return &upstreams{cfg: cfg, env: env, client: client.Transport, table: table}, nil
}

// find gives the upstream of a model: that of an alias which names the very
// model with an address of its own, else the vendor's.
func (u *upstreams) find(api wire.API, model string) (llmproxy.Upstream, error) {
	vendor := api.Vendor()
	for _, m := range u.cfg.Models {
		if m.Provider != vendor || m.BaseURL == "" || model == "" {
			continue
		}
		if x, err := m.Expand(u.env); err == nil && x.Model == model {
			return u.at(vendor, targetOf(x), x.BaseURL, x.KeyEnv)
		}
	}
	at, ok := u.cfg.Upstream(vendor)
	if !ok {
		return llmproxy.Upstream{}, fault.New("app.upstream", fault.Config, "no upstream speaks %s", api)
	}
	return u.at(vendor, vendorTarget(u.cfg, vendor)+"/"+model, at.BaseURL, at.KeyEnv)
}

// vendorTarget names a vendor in targets; one with an address of its own is a
// sink of its own.
func vendorTarget(cfg *config.Config, vendor string) string {
	if own := cfg.Proxy.Upstreams[vendor].BaseURL; own != "" {
		if x, err := url.Parse(own); err == nil {
			return vendor + "@" + x.Host
		}
	}
	return vendor
}

func (u *upstreams) at(vendor, target, base, keyEnv string) (llmproxy.Upstream, error) {
	addr, err := url.Parse(strings.TrimSuffix(strings.TrimSuffix(base, "/"), "/v1"))
	if err != nil {
		return llmproxy.Upstream{}, fault.Wrap("app.upstream", fault.Config, err)
	}
	key := ""
	if keyEnv != "" {
		if key, _ = u.env.Lookup(keyEnv); key == "" {
			return llmproxy.Upstream{}, fault.New("app.upstream", fault.Config, "the key of %s is not set; set %s in the environment of `sallyport proxy` or in its .env", vendor, keyEnv)
		}
	}
	return llmproxy.Upstream{
		Name: vendor, Base: addr, Transport: u.client, Target: func(string) string { return target },
		Credential: func(h http.Header) { putKey(h, vendor, key) },
	}, nil
}

// putKey writes a provider's key where its API looks for it.
func putKey(h http.Header, vendor, key string) {
	switch {
	case key == "":
	case vendor == "anthropic":
		h.Set("X-Api-Key", key)
	case vendor == "gemini":
		h.Set("X-Goog-Api-Key", key)
	default:
		h.Set("Authorization", "Bearer "+key)
	}
}

// price gives what a target costs; false is unknown.
func (u *upstreams) price(target string) (price.Price, bool) {
	vendor, model, _ := strings.Cut(target, "/")
	vendor, _, _ = strings.Cut(vendor, "@")
	bare, _, _ := strings.Cut(model, "@")
	for _, m := range u.cfg.Models {
		if m.Provider != vendor || m.Price == nil {
			continue
		}
		if x, err := m.Expand(u.env); err == nil && (targetOf(x) == target || x.Model == model) {
			p, ok, err := priceOf(x)
			return p, ok && err == nil
		}
	}
	return u.table.Lookup(vendorOf(config.Model{Provider: vendor}), bare)
}

// cost implements llmproxy.Config.Cost.
func (u *upstreams) cost(target string, used wire.Usage) (record.Micros, bool) {
	p, ok := u.price(target)
	if !ok {
		return 0, false
	}
	return record.Micros(p.Cost(llm.Usage(used.Usage))), true
}

// quote bounds what a call through the model proxy may cost, and who pays: the
// agent, its key and its day.
func (u *upstreams) quote(a action.Action, key record.APIKey, known bool, total record.Micros, now time.Time) (record.Reservation, error) {
	set := u.cfg.Agents[a.Agent]
	day := "day:" + now.UTC().Format(time.DateOnly)
	res := record.Reservation{Account: a.Agent, Limit: dollarLimit(set.SpendLimitDollars), Total: total}
	also := func(account string, limit record.Micros) {
		if limit >= 0 {
			res.Also = append(res.Also, record.Allowance{Account: account, Limit: limit})
		}
	}
	if known {
		res.Key = key.ID
		also("key:"+key.ID, key.LimitMicros)
		also(day+":key:"+key.ID, key.DayMicros)
	}
	also(day+":agent:"+a.Agent, dollarLimit(set.DayLimitDollars))
	also(day, dollarLimit(u.cfg.DayLimitDollars))
	if op, _ := a.Args["op"].(string); op != "" && op != "generate" && op != "compact" && op != "embed" {
		return res, nil // counts, lists and what was paid for before cost nothing
	}
	p, ok := u.price(a.Target)
	if !ok {
		if res.Limit < 0 && res.Total <= 0 && len(res.Also) == 0 {
			return res, nil
		}
		return res, fault.New("app.quote", fault.Budget, "the price of %s is unknown, so a spend limit could not hold; add it under models: with provider, model and price", a.Target)
	}
	out, choices := intArg(a, "max_output"), min(max(intArg(a, "choices"), 1), maxChoices)
	if out <= 0 { // max_output is that of all choices
		out = assumedOutput * choices
	}
	in := intArg(a, "input_bytes")
	if a.Args["history"] == true {
		in += assumedHistory
	}
	res.Micros = record.Micros(p.MaxCost(in, int(min(out, llm.MaxMaxTokens*choices))))
	return res, nil
}

func intArg(a action.Action, name string) int64 {
	switch v := a.Args[name].(type) {
	case int64:
		return v
	case int:
		return int64(v)
	default:
		return 0
	}
}

// dollarLimit turns an optional setting into a limit; negative is none.
func dollarLimit(d *float64) record.Micros {
	if d == nil {
		return -1
	}
	return microsOf(*d)
}

// sinks of the model proxy: what vendors may receive, and the tools of clients,
// which run within the client's own limits.
func (a *App) proxySinks(parse func(what, text string) label.Label) []policy.Sink {
	cfg := a.Config
	out := make([]policy.Sink, 0, 4)
	for _, vendor := range []string{"openai", "anthropic", "gemini"} {
		at, _ := cfg.Upstream(vendor)
		m := config.Model{Provider: vendor, BaseURL: cfg.Proxy.Upstreams[vendor].BaseURL}
		out = append(out, policy.Sink{
			Kind: action.ModelCall, Target: vendorTarget(cfg, vendor) + "/*", Origin: "endpoints." + cmp.Or(hostOf(at.BaseURL, m.BaseURL != ""), vendor) + ".clearance",
			Clearance: parse("endpoints."+vendor+".clearance", cfg.ModelClearance(m)),
		})
	}
	return append(out, policy.Sink{
		Kind: action.ToolCall, Target: "client/*", Origin: "proxy.tools_clearance", Endorsed: true,
		Clearance: parse("proxy.tools_clearance", cfg.Proxy.ToolsClearance),
	})
}

func hostOf(base string, own bool) string {
	if u, err := url.Parse(base); own && err == nil {
		return u.Host
	}
	return ""
}

// proxyResults says what tools of clients bring in: nobody knows where from.
func (a *App) proxyResults(parse func(what, text string) label.Label) []policy.Result {
	return []policy.Result{{Kind: action.ToolCall, Target: "client/*", Label: parse("proxy.tools_label", a.Config.Proxy.ToolsLabel)}}
}
