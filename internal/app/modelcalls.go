package app

import (
	"context"
	"fmt"
	"math"
	"net"
	"net/netip"
	"net/url"
	"reflect"
	"strconv"
	"sync"

	"sallyport/internal/action"
	"sallyport/internal/config"
	"sallyport/internal/egress"
	"sallyport/internal/fault"
	"sallyport/internal/gate"
	"sallyport/internal/llm"
	"sallyport/internal/llm/anthropic"
	"sallyport/internal/llm/auditor"
	"sallyport/internal/llm/gemini"
	"sallyport/internal/llm/openai"
	"sallyport/internal/llm/price"
	"sallyport/internal/record"
)

// wiredModel is one model that agents of this run may call.
type wiredModel struct {
	target string // of model.call: "provider/model"
	model  config.Model
	client llm.Client
	price  price.Price
	priced bool
}

// modelCalls performs model.call: it is the only holder of provider keys.
type modelCalls struct {
	mu     sync.RWMutex
	models map[string]*wiredModel
	limits map[string]record.Micros // by agent; negative = none
	total  record.Micros            // of all agents together; negative = none

	// proxied quotes the calls that pass through the model proxy, whose request
	// is known by its hash.
	proxied func(a action.Action) (record.Reservation, error)
}

// maxModelConns is how many calls may be under way to one host: one for each
// agent of a large directory.
const maxModelConns = 1024

func newModelCalls() *modelCalls {
	return &modelCalls{models: map[string]*wiredModel{}, limits: map[string]record.Micros{}, total: -1}
}

// wire makes the model an agent file names callable and gives its target.
func (m *modelCalls) wire(cfg *config.Config, env *config.Env, dial *egress.Dialer, name string) (*wiredModel, error) {
	model, err := cfg.ResolveModel(name)
	if err != nil {
		return nil, err
	}
	if model, err = model.Expand(env); err != nil {
		return nil, err
	}
	w := &wiredModel{target: targetOf(model), model: model}
	if w.client, err = newClient(model, env, dial); err != nil {
		return nil, err
	}
	if w.price, w.priced, err = priceOf(model); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	// An action names the model, not the alias, so two aliases of one model
	// cannot differ in key, price or limit: one of them would be ignored.
	if old, ok := m.models[w.target]; ok && !reflect.DeepEqual(old.model, w.model) {
		return nil, fault.New("app.model", fault.Config,
			"%s and another name stand for %s with different settings; give both the same under models:", name, w.target)
	}
	m.models[w.target] = w
	return w, nil
}

// targetOf names a model as actions do: "provider/model", and the host behind
// it when that is not the provider's own, because it is a sink of its own.
func targetOf(model config.Model) string {
	target := model.Provider + "/" + model.Model
	if u, err := url.Parse(model.BaseURL); err == nil && u.Host != "" {
		target += "@" + u.Host
	}
	return target
}

// newClient builds the provider's client. A missing key is an error that names
// the variable, before anything starts.
func newClient(model config.Model, env *config.Env, dial *egress.Dialer) (llm.Client, error) {
	if model.Provider == "builtin" {
		if model.Model != "auditor" {
			return nil, fault.New("app.model", fault.Config, "there is no built-in model %q; the built-in model is auditor", model.Model)
		}
		return auditor.NewClient(), nil
	}
	ep := llm.Endpoint{Provider: model.Provider, BaseURL: model.BaseURL, Model: model.Model, KeyName: model.KeyEnv}
	if model.KeyEnv != "" {
		key, ok := env.Lookup(model.KeyEnv)
		if !ok || key == "" {
			return nil, fault.New("app.model", fault.Config,
				"the model %s needs a key and %s is not set; set it in the environment or in .env, or map the name to another model under models:", model.Model, model.KeyEnv)
		}
		ep.Key = func() string { return key }
	} else {
		ep.KeyOptional = true
	}
	// Exactly one call is reserved, so a call that may already be charged for
	// is not repeated.
	opt := llm.Options{NoRetryUnsettled: true}
	http := dial.Client(egress.ClientOptions{MaxConnsPerHost: maxModelConns})
	switch model.Provider {
	case "openai":
		return openai.New(ep, http, opt)
	case "anthropic":
		return anthropic.New(ep, http, opt)
	case "gemini":
		return gemini.New(ep, http, opt)
	}
	return nil, fault.New("app.model", fault.Config, "provider %q is unknown; use openai, anthropic, gemini or builtin", model.Provider)
}

// vendorOf gives the name that price rows use: that of who charges.
func vendorOf(model config.Model) string {
	if model.Provider == "gemini" {
		return "google"
	}
	return model.Provider
}

// priceOf gives the operator's own price of a model, else the shipped one.
func priceOf(model config.Model) (price.Price, bool, error) {
	table, err := price.Shipped()
	if err != nil {
		return price.Price{}, false, fmt.Errorf("app.price: %w", err)
	}
	if c := model.Price; c != nil {
		own := price.Price{Provider: vendorOf(model), Model: model.Model, AsOf: "configured", Source: "configuration"}
		for dst, usd := range map[*price.Rate]float64{
			&own.Input: c.Input, &own.Output: c.Output, &own.CacheRead: max(c.CacheRead, 0), &own.CacheWrite: max(c.CacheWrite, 0),
		} {
			if *dst, err = price.ParseRate(strconv.FormatFloat(usd, 'f', -1, 64)); err != nil {
				return price.Price{}, false, fault.Wrap("app.price", fault.Config, err)
			}
		}
		if c.CacheRead == 0 {
			own.CacheRead = own.Input
		}
		if c.CacheWrite == 0 {
			own.CacheWrite = own.Input
		}
		if table, err = table.With(own); err != nil {
			return price.Price{}, false, fault.Wrap("app.price", fault.Config, err)
		}
	}
	p, ok := table.Lookup(vendorOf(model), model.Model)
	return p, ok, nil
}

func (m *modelCalls) find(target string) (*wiredModel, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	w, ok := m.models[target]
	if !ok {
		return nil, fault.New("app.model", fault.NotFound, "no model %s is configured for this run", target)
	}
	return w, nil
}

func (m *modelCalls) limit(agent string) (own, total record.Micros) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	own, ok := m.limits[agent]
	if !ok {
		own = 0 // an agent nobody gave money to has none
	}
	return own, m.total
}

// Quote bounds what a model call may cost. Without a known price a spend limit
// could not hold, so the call is refused.
func (m *modelCalls) Quote(a action.Action) (record.Reservation, error) {
	if a.Arg("content") != "" && m.proxied != nil {
		return m.proxied(a)
	}
	w, err := m.find(a.Target)
	if err != nil {
		return record.Reservation{}, err
	}
	own, total := m.limit(a.Agent)
	res := record.Reservation{Account: a.Agent, Limit: own, Total: total}
	if !w.priced {
		if own < 0 && total < 0 {
			return res, nil
		}
		return res, unpriced(w)
	}
	req, err := llm.FromArgs(a.Args)
	if err != nil {
		return res, err
	}
	res.Micros = record.Micros(w.price.MaxCost(price.InputBytes(req), req.MaxTokens))
	return res, nil
}

func unpriced(w *wiredModel) error {
	return fault.New("app.quote", fault.Budget,
		"the price of %s is unknown, so a spend limit could not hold; set models.<name>.price in sallyport.yaml", w.target)
}

// Perform makes the call.
func (m *modelCalls) Perform(ctx context.Context, p *gate.Permit) (record.Result, error) {
	a, err := p.Take()
	if err != nil {
		return record.Result{}, err
	}
	w, err := m.find(a.Target)
	if err != nil {
		return record.Result{}, err
	}
	req, err := llm.FromArgs(a.Args)
	if err != nil {
		return record.Result{}, err
	}
	reply, err := w.client.Complete(ctx, req, nil)
	res := record.Result{Output: reply.Text, Payload: reply, Cost: w.cost(req, reply, err)}
	u := reply.Usage
	res.Data = map[string]any{
		"model": w.target, "request_id": reply.RequestID, "attempts": int64(reply.Attempts), "stop": reply.Stop, "usage_known": reply.UsageKnown,
		"usage": map[string]any{
			"input_tokens": u.Input, "output_tokens": u.Output, "cache_read_tokens": u.CacheRead,
			"cache_write_tokens": u.CacheWrite, "reasoning_tokens": u.Reasoning,
		},
	}
	return res, err
}

// cost is what the provider reported, or the whole reservation when it may
// charge for a call that it gave no figures for.
func (w *wiredModel) cost(req llm.Request, reply llm.Response, err error) record.Micros {
	if !w.priced {
		return 0
	}
	reserved := w.price.MaxCost(price.InputBytes(req), req.MaxTokens)
	return record.Micros(w.price.Settle(reply, err != nil, reserved))
}

// most gives how many output tokens a call can afford, by the same measure as
// Quote.
func (m *modelCalls) most(target string, left record.Micros, req llm.Request) (int, error) {
	w, err := m.find(target)
	if err != nil {
		return 0, err
	}
	limit := w.model.MaxOutput
	if limit <= 0 {
		limit = llm.MaxMaxTokens
	}
	switch {
	case w.priced && w.price.Free(), left < 0:
		return limit, nil
	case !w.priced:
		return 0, unpriced(w)
	}
	return w.price.MaxTokensFor(int64(left), price.InputBytes(req), limit), nil
}

// microsOf turns the dollars of a configuration into millionths, rounding down
// so that a limit is never widened.
func microsOf(dollars float64) record.Micros {
	return record.Micros(math.Floor(dollars*1e6 + 1e-6))
}

// dialRules gives the addresses the operator allows although they are private,
// and those of models on this machine, which the operator named by configuring
// them.
func dialRules(cfg *config.Config, env *config.Env) ([]egress.Rule, error) {
	hosts := cfg.PrivateAddresses()
	for _, m := range cfg.Models {
		// An alias whose variables are not set is nobody's model yet.
		if x, err := m.Expand(env); err == nil && x.BaseURL != "" {
			if hp, local := localAddress(x.BaseURL); local {
				hosts = append(hosts, hp)
			}
		}
	}
	rules := make([]egress.Rule, 0, len(hosts))
	for _, hp := range hosts {
		r, err := egress.ParseRule(hp)
		if err != nil {
			return nil, fault.Wrap("app.egress", fault.Config, err)
		}
		rules = append(rules, r)
	}
	return rules, nil
}

// localAddress gives the host:port of a base address on this machine.
func localAddress(base string) (hostport string, local bool) {
	u, err := url.Parse(base)
	if err != nil {
		return "", false
	}
	host := u.Hostname()
	if addr, err := netip.ParseAddr(host); host != "localhost" && (err != nil || !addr.Unmap().IsLoopback()) {
		return "", false
	}
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return net.JoinHostPort(host, port), true
}
