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
	hosts map[string]string // by host: its vendor
	names map[string]string // by vendor: how targets call it
}

var modelVendors = []string{"openai", "anthropic", "gemini"}

func newWatched(p *llmproxy.Proxy, cfg *config.Config) *watched {
	w := &watched{proxy: p, hosts: modelHosts(cfg), names: map[string]string{}}
	for _, vendor := range modelVendors {
		w.names[vendor] = vendorTarget(cfg, vendor)
	}
	return w
}

// modelHosts lists the hosts that serve model APIs, by name without port.
func modelHosts(cfg *config.Config) map[string]string {
	out := map[string]string{}
	for _, vendor := range modelVendors {
		for _, base := range []string{config.VendorURL(vendor), cfg.Proxy.Upstreams[vendor].BaseURL} {
			if u, err := url.Parse(base); err == nil && u.Hostname() != "" {
				out[strings.ToLower(u.Hostname())] = vendor
			}
		}
	}
	return out
}

// is tells whether a destination serves models, so that its requests are looked
// at one by one.
func (w *watched) is(host string) bool { return w != nil && w.hosts[host] != "" }

// watch implements proxy.Config.Watch: model calls go through the model proxy.
// What else a model's host is asked passes when it can carry nothing away but
// what the network rules allow by method; anything that has a body and is no
// known API does not, since it might be one after all.
func (o *outlet) watch(w http.ResponseWriter, r *http.Request, d proxy.Dest, up http.RoundTripper) bool {
	vendor := o.models.hosts[d.Host]
	if vendor == "" {
		return false
	}
	if !o.models.proxy.Watches(r) {
		if r.Method == http.MethodGet || r.Method == http.MethodHead || r.Method == http.MethodOptions {
			return false
		}
		o.refused("http.request", r.Method+" "+hostPort(d)+r.URL.Path, "proxy.path", 1)
		w.Header().Set(proxy.DeniedHeader, "proxy.path")
		http.Error(w, "sallyport: "+hostPort(d)+" serves models, and this path is no API that is understood, so nothing could judge what it carries", http.StatusForbidden)
		return true
	}
	o.models.proxy.Serve(w, r, llmproxy.Caller{Agent: o.who.Agent, Session: o.who.Session, Context: o.who.Context}, &llmproxy.Upstream{
		Name: vendor, Base: &url.URL{Scheme: "https", Host: net.JoinHostPort(d.Host, "443")}, Transport: up,
		Target: func(model string) string { return o.models.names[vendor] + "/" + model },
	})
	return true
}

// modelSinksOf clears the vendors behind a profile's network rules for what the
// rules clear their hosts for: the request reaches nobody else.
func modelSinksOf(cfg *config.Config, p config.Profile) []policy.Sink {
	hosts, out := modelHosts(cfg), map[string]policy.Sink{}
	for _, r := range p.Network.Allow {
		vendor := hosts[r.Host]
		if vendor == "" {
			continue
		}
		l, err := label.Parse(r.Clearance)
		if err != nil {
			continue // the rule itself is refused
		}
		target := vendorTarget(cfg, vendor) + "/*"
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
