package app

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"time"

	"sallyport/internal/action"
	"sallyport/internal/egress"
	"sallyport/internal/fault"
	"sallyport/internal/record"
)

// GrantDestination gives an agent standing permissions to reach one host and
// port, by connection and by HTTP request: for a destination that no rule of
// its profile lists. The grants given before an error are returned with it.
func (a *App) GrantDestination(ctx context.Context, agent, dest string, life time.Duration, because string) ([]GrantInfo, error) {
	host, portText, err := net.SplitHostPort(dest)
	if err != nil {
		host, portText = dest, "443"
	}
	port, err := strconv.ParseUint(portText, 10, 16)
	canonical, ok := egress.CanonicalHost(host)
	if err != nil || port == 0 || !ok {
		return nil, fault.New("app.grant", fault.Usage, "%q is no destination; write host or host:port, such as example.org:443", dest)
	}
	hp := net.JoinHostPort(canonical, portText)
	var out []GrantInfo
	for _, g := range []record.Grant{
		{Kind: action.NetConnect, Target: hp},
		{Kind: action.HTTPRequest, Target: origin("https", canonical, uint16(port)) + "/*"},
		{Kind: action.HTTPRequest, Target: origin("http", canonical, uint16(port)) + "/*"},
	} {
		g.Agent, g.Because, g.Expires = agent, because, time.Now().Add(life)
		info, err := a.Grant(ctx, g, Signing{})
		if err != nil {
			return out, err
		}
		out = append(out, info)
	}
	return out, nil
}

// schemePorts are left out of a URL.
var schemePorts = map[string]uint16{"http": 80, "https": 443}

// origin writes scheme, host and port as a URL begins, as targets of
// http.request do.
func origin(scheme, host string, port uint16) string {
	hp := net.JoinHostPort(host, strconv.Itoa(int(port)))
	if schemePorts[scheme] == port {
		hp = hp[:len(hp)-len(fmt.Sprintf(":%d", port))]
	}
	return scheme + "://" + hp
}

// destinationOf gives host:port of a URL.
func destinationOf(target string) (string, bool) {
	u, err := url.Parse(target)
	if err != nil || u.Hostname() == "" {
		return "", false
	}
	port := u.Port()
	if port == "" {
		port = strconv.Itoa(int(schemePorts[u.Scheme]))
	}
	return net.JoinHostPort(u.Hostname(), port), true
}
