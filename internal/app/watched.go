package app

import (
	"context"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"sallyport/internal/action"
	"sallyport/internal/config"
	"sallyport/internal/egress/proxy"
	"sallyport/internal/fault"
	"sallyport/internal/label"
	"sallyport/internal/llmproxy"
	"sallyport/internal/policy"
)

// watched are the model APIs that sandboxed programs reach: their requests pass
// the model proxy on their way out.
type watched struct {
	proxy *llmproxy.Proxy
	hosts map[string]modelHost // by host
}

// modelHost is what is served at a host of models.
type modelHost struct {
	vendor string
	name   string // how targets call it
}

var modelVendors = []string{"openai", "anthropic", "gemini"}

func newWatched(p *llmproxy.Proxy, cfg *config.Config) *watched {
	return &watched{proxy: p, hosts: modelHosts(cfg)}
}

// modelHosts lists the hosts that serve model APIs, by name without port. Of the
// hosts under models those count whose API begins where clients look for it: on
// others nobody could tell a call of a model from another request.
func modelHosts(cfg *config.Config) map[string]modelHost {
	out := map[string]modelHost{}
	for _, m := range cfg.Models {
		u, err := url.Parse(m.BaseURL)
		if err != nil || u.Hostname() == "" || !slices.Contains(modelVendors, m.Provider) || !slices.Contains([]string{"", "/v1", "/v1beta"}, strings.TrimSuffix(u.Path, "/")) {
			continue
		}
		out[strings.ToLower(u.Hostname())] = modelHost{m.Provider, m.Provider + "@" + u.Host}
	}
	for _, vendor := range modelVendors {
		for _, base := range []string{config.VendorURL(vendor), cfg.Proxy.Upstreams[vendor].BaseURL} {
			if u, err := url.Parse(base); err == nil && u.Hostname() != "" {
				out[strings.ToLower(u.Hostname())] = modelHost{vendor, vendorTarget(cfg, vendor)}
			}
		}
	}
	return out
}

// modelHostOf finds what a host serves. Vendors serve the same API by region at
// names below their own.
func modelHostOf(hosts map[string]modelHost, host string) (modelHost, bool) {
	for {
		if m, ok := hosts[host]; ok {
			return m, true
		}
		var below bool
		if _, host, below = strings.Cut(host, "."); !below {
			return modelHost{}, false
		}
	}
}

// is tells whether a destination serves models, so that its requests are looked
// at one by one.
func (w *watched) is(host string) bool {
	if w == nil {
		return false
	}
	_, ok := modelHostOf(w.hosts, host)
	return ok
}

// carriesNothing tells a request of which the judge of destinations saw all: it
// has no body, and nothing follows it that is no request.
func carriesNothing(r *http.Request) bool {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions:
		return r.ContentLength == 0 && r.Header.Get("Upgrade") == ""
	}
	return false
}

// watch implements proxy.Config.Watch: model calls go through the model proxy.
// What else a model's host is asked passes when it can carry nothing away but
// what the network rules allow by method; anything that has a body and is no
// known API does not, since it might be one after all.
func (o *outlet) watch(w http.ResponseWriter, r *http.Request, d proxy.Dest, up http.RoundTripper) bool {
	host, ok := modelHostOf(o.models.hosts, d.Host)
	if !ok {
		return false
	}
	if !o.models.proxy.Watches(r) {
		if carriesNothing(r) {
			return false
		}
		rule, status, because := "proxy.path", http.StatusForbidden, "this path is no API that is understood, so nothing could judge what it carries"
		if r.Header.Get("Upgrade") != "" { // clients fall back on this status
			rule, status, because = "proxy.upgrade", http.StatusUpgradeRequired, "nothing could judge what a WebSocket to it carries; use plain HTTP requests"
		}
		o.refused("http.request", r.Method+" "+hostPort(d)+r.URL.Path, rule, 1)
		w.Header().Set(proxy.DeniedHeader, rule)
		http.Error(w, "sallyport: "+hostPort(d)+" serves models: "+because, status)
		return true
	}
	o.models.proxy.Serve(w, r, llmproxy.Caller{Agent: o.who.Agent, Session: o.who.Session, Context: o.who.Context}, &llmproxy.Upstream{
		Name: host.vendor, Base: &url.URL{Scheme: "https", Host: net.JoinHostPort(d.Host, "443")}, Transport: up,
		Target: func(model string) string { return host.name + "/" + model },
	})
	return true
}

// modelSinksOf clears the vendors behind a profile's network rules for what the
// rules clear their hosts for: the request reaches nobody else.
func modelSinksOf(cfg *config.Config, p config.Profile) []policy.Sink {
	hosts, out := modelHosts(cfg), map[string]policy.Sink{}
	for _, r := range p.Network.Allow {
		host, ok := modelHostOf(hosts, r.Host)
		if !ok {
			continue
		}
		l, err := label.Parse(r.Clearance)
		if err != nil {
			continue // the rule itself is refused
		}
		target := host.name + "/*"
		if old, ok := out[target]; !ok || l.ConfFlowsTo(old.Clearance) {
			out[target] = policy.Sink{Kind: action.ModelCall, Target: target, Clearance: l, Origin: "network.allow of the profile"}
		}
	}
	return slices.Collect(maps.Values(out))
}

// closeModels settles what the model proxy of this run still holds; calls that
// are open when ctx ends are cut, which is an error of kind fault.Canceled.
func (e *engine) closeModels(ctx context.Context) error {
	if e.watched == nil {
		return nil
	}
	err := e.watched.proxy.Close(ctx)
	return fault.Wrap("app.models", fault.KindOf(err), err)
}
