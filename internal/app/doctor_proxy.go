package app

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"path/filepath"

	"sallyport/internal/alert"
	"sallyport/internal/fault"
)

// ErrUnset is in every error about a variable that a setting names and nobody
// has set: where a configuration is only checked, that may be right.
var ErrUnset = errors.New("a variable is not set")

// MonitorProblems lists what would keep the model proxy and the watcher from
// starting: each setting of the monitor is made as they would make it.
func (a *App) MonitorProblems() []error {
	var out []error
	add := func(err error) {
		if err != nil {
			out = append(out, err)
		}
	}
	_, err := newScreening(a.Config, a.Env)
	add(err)
	_, err = newMasker(a.Config, a.Env)
	add(err)
	_, _, err = a.newModerators(nil)
	add(err)
	_, err = a.proxyTLS()
	add(err)
	rules, err := a.alertRules()
	if err == nil {
		_, err = alert.New(rules)
	}
	add(err)
	sinks := 0
	for _, c := range a.Config.Alerts.Sinks { // one by one: a variable that is not set must not hide the next mistake
		_, err := a.alertSink(c)
		add(err)
		if err == nil {
			sinks++
		}
	}
	if sinks == len(a.Config.Alerts.Sinks) {
		_, err = a.alertSinks()
		add(err)
	}
	return out
}

// proxyTLS reads the listener's certificate; nil where it speaks plain HTTP.
func (a *App) proxyTLS() (*tls.Config, error) {
	files := a.Config.Proxy.TLS
	if files == nil {
		return nil, nil //nolint:nilnil // nil is plain HTTP
	}
	cert, err := tls.LoadX509KeyPair(files.Cert, files.Key)
	if err != nil {
		return nil, &fault.Error{Op: "app.proxy", Kind: fault.Config, Err: err, Public: "proxy.tls: certificate and key cannot be read as a pair; check both files"}
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{cert}}, nil
}

// keyless lists the vendors whose key is not set, with its variable.
func (a *App) keyless() [][2]string {
	var out [][2]string
	for _, vendor := range modelVendors {
		at, _ := a.Config.Upstream(vendor)
		if at.KeyEnv == "" {
			continue
		}
		if key, _ := a.Env.Lookup(at.KeyEnv); key == "" {
			out = append(out, [2]string{vendor, at.KeyEnv})
		}
	}
	return out
}

// checkProxy looks at what `sallyport proxy` and the watcher need. A provider
// without a key is no failure: nobody may call it.
func (a *App) checkProxy(ctx context.Context) []Check {
	var out []Check
	for _, err := range a.MonitorProblems() {
		out = append(out, Check{Area: "proxy", Name: "setting", State: CheckFail, Detail: sentence(err), Remedy: "until then `sallyport proxy` does not start"})
	}
	if len(out) == 0 {
		out = append(out, Check{Area: "proxy", Name: "settings", State: CheckOK, Detail: fmt.Sprintf(
			"listens on %s; keywords, masking, moderation and %d alert sinks can work", a.Config.Proxy.Listen, len(a.Config.Alerts.Sinks))})
	}
	missing := map[string]string{}
	for _, m := range a.keyless() {
		missing[m[0]] = m[1]
	}
	for _, vendor := range modelVendors {
		at, _ := a.Config.Upstream(vendor)
		c := Check{Area: "proxy", Name: "upstream " + vendor, State: CheckOK, Detail: at.BaseURL}
		if name := missing[vendor]; name != "" {
			c.State, c.Detail = CheckSkip, name+" is not set; its models cannot be called"
			c.Remedy = "put it into the environment or " + filepath.Join(a.Paths.Home, ".env")
		}
		out = append(out, c)
	}
	keys, err := a.Keys(ctx)
	live := 0
	for _, k := range keys {
		if k.State == "live" {
			live++
		}
	}
	switch {
	case err != nil:
		out = append(out, Check{Area: "proxy", Name: "API keys", State: CheckFail, Detail: sentence(err), Remedy: "sallyport verify"})
	case live == 0:
		out = append(out, Check{Area: "proxy", Name: "API keys", State: CheckSkip, Detail: "none; no client can call", Remedy: "sallyport keys create NAME"})
	default:
		out = append(out, Check{Area: "proxy", Name: "API keys", State: CheckOK, Detail: fmt.Sprintf("%d live", live)})
	}
	return out
}
