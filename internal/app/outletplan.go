package app

import (
	"bytes"
	"context"
	"crypto/x509"
	"maps"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"sallyport/internal/config"
	"sallyport/internal/egress"
	"sallyport/internal/egress/credential"
	"sallyport/internal/egress/proxy"
	"sallyport/internal/fault"
	"sallyport/internal/policy"
	"sallyport/internal/sandbox"
)

// bundlePath is where a session finds the certificates to trust: this
// machine's and the run's own authority.
const bundlePath = "/run/sallyport/ca.pem"

// systemBundles are where distributions keep all certificates in one file.
var systemBundles = []string{"/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem", "/etc/ssl/ca-bundle.pem"}

// outletPlan is what the sessions of one profile need to reach the outside:
// made once for a run, before anything of the agent's exists.
type outletPlan struct {
	profile      string
	dial         *egress.Dialer
	roots        *x509.CertPool // nil: the system's
	authority    *proxy.Authority
	secrets      *credential.Set     // nil: none
	bound        map[string][]uint16 // by host: the ports where secrets go
	placeholders map[string]string   // by secret
	missing      map[string]string   // optional secrets without a value, and why
	programs     bool                // a rule asks which program connects
	ask          bool                // somebody is waited for when no rule names a destination
}

// planOutlet reads what the profile's rules and secrets need. A secret that
// cannot be read is an error, unless it is optional.
func (a *App) planOutlet(ctx context.Context, name string, p config.Profile, now time.Time) (*outletPlan, error) {
	plan := &outletPlan{profile: name, bound: map[string][]uint16{}, placeholders: map[string]string{}, missing: map[string]string{}, ask: p.Network.Unlisted == policy.UnlistedAsk}
	for _, r := range p.Network.Allow {
		plan.programs = plan.programs || len(r.Programs) > 0
	}
	rules, err := dialRulesOf(p.Network)
	if err != nil {
		return nil, err
	}
	if plan.roots, err = rootsOf(p.Network.Roots); err != nil {
		return nil, err
	}
	hosts, err := hostsOf(p.Network.Hosts)
	if err != nil {
		return nil, err
	}
	plan.dial = egress.New(egress.Config{Allow: rules, Hosts: hosts, RootCAs: plan.roots})
	if plan.authority, err = proxy.NewAuthority(now); err != nil {
		return nil, fault.Wrap("app.outlet", fault.Internal, err)
	}
	return plan, plan.readSecrets(ctx, a.Config.SecretsOf(p), a.userHome(), a.Env)
}

// dialRulesOf lists the destinations that may be private addresses.
func dialRulesOf(n config.Network) ([]egress.Rule, error) {
	var out []egress.Rule
	for _, r := range n.Allow {
		if !r.Private {
			continue
		}
		for _, port := range r.Ports {
			host := r.Host
			if strings.Contains(host, ":") {
				host = "[" + host + "]"
			}
			rule, err := egress.ParseRule(host + ":" + strconv.Itoa(int(port)))
			if err != nil {
				return nil, fault.Wrap("app.outlet", fault.Config, err)
			}
			out = append(out, rule)
		}
	}
	return out, nil
}

func rootsOf(file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil //nolint:nilnil // nil means the system's, as in crypto/tls
	}
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, fault.Wrap("app.outlet", fault.Config, err)
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fault.New("app.outlet", fault.Config, "network.roots: %s holds no certificate in PEM form; correct the path", file)
	}
	return pool, nil
}

func hostsOf(hosts map[string][]string) (map[string][]netip.Addr, error) {
	out := make(map[string][]netip.Addr, len(hosts))
	for name, addrs := range hosts {
		for _, text := range addrs {
			addr, err := netip.ParseAddr(text)
			if err != nil {
				return nil, fault.Wrap("app.outlet", fault.Config, err)
			}
			out[name] = append(out[name], addr)
		}
	}
	return out, nil
}

func (p *outletPlan) readSecrets(ctx context.Context, secrets map[string]config.Secret, home string, env *config.Env) error {
	var bindings []credential.Binding
	for _, name := range slices.Sorted(maps.Keys(secrets)) {
		s := secrets[name]
		p.placeholders[name] = credential.NewPlaceholder(s.Placeholder)
		from, err := s.From.Expand(home, env)
		if err != nil {
			return err
		}
		source := credential.Source{Env: from.Env, File: from.File, Keyring: from.Keyring, Command: from.Command}
		value, err := source.Read(ctx, env.Lookup)
		if err != nil {
			if s.Optional && (fault.Is(err, fault.NotFound) || fault.Is(err, fault.Config)) {
				delete(p.placeholders, name)
				p.missing[name] = fault.PublicText(err)
				continue
			}
			return err
		}
		b := credential.Binding{Name: name, Host: s.Host, Port: s.Port, Value: value, Placeholder: p.placeholders[name]}
		for _, i := range s.Inject {
			b.Places = append(b.Places, placeOf(i))
		}
		bindings = append(bindings, b)
	}
	if len(bindings) == 0 {
		return nil
	}
	set, err := credential.NewSet(bindings)
	if err != nil {
		return err
	}
	p.secrets = set
	for _, b := range bindings {
		p.bound[b.Host] = append(p.bound[b.Host], b.Port)
	}
	return fault.Wrap("app.outlet", fault.Internal, credential.ProtectProcess(os.Geteuid() != 0))
}

func placeOf(i config.Injection) credential.Place {
	switch {
	case i.Header != "":
		return credential.Place{In: credential.Header, Name: i.Header, Template: i.Template}
	case i.Query != "":
		return credential.Place{In: credential.Query, Name: i.Query}
	case i.JSON != "":
		return credential.Place{In: credential.JSON, Name: "/" + strings.ReplaceAll(i.JSON, ".", "/")}
	case i.Form != "":
		return credential.Place{In: credential.Form, Name: i.Form}
	default:
		return credential.Place{In: credential.Basic, Name: i.Basic}
	}
}

// files are what the session's view gets: certificates to trust.
func (p *outletPlan) files() []sandbox.File {
	bundle := p.authority.PEM()
	for _, f := range systemBundles {
		if b, err := os.ReadFile(f); err == nil {
			bundle = slices.Concat(bytes.TrimRight(b, "\n"), []byte("\n"), bundle)
			break
		}
	}
	return []sandbox.File{{Path: bundlePath, Content: bundle}}
}

// scrub takes secrets out of what is kept: transcripts.
func (p *outletPlan) scrub(b []byte) []byte {
	if p == nil || p.secrets == nil {
		return b
	}
	return p.secrets.Scrub(b)
}

// proxyURL is where a client that asks for a proxy finds it inside.
func proxyURL() string {
	return "http://" + net.JoinHostPort("127.0.0.1", strconv.Itoa(sandbox.ProxyPort))
}
