package app

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/url"
	"os/exec"
	"slices"
	"time"

	"sallyport/internal/alert"
	"sallyport/internal/config"
	"sallyport/internal/egress"
	"sallyport/internal/fault"
)

// alertRules gives the rules in force: the shipped ones that are not switched
// off, what monitoring.alert_levels adds to them, and the operator's own, which
// replace a shipped rule of the same name.
func (a *App) alertRules() ([]alert.Rule, error) {
	var rules []alert.Rule
	set := a.Config.Alerts
	levels := a.Config.Monitoring.AlertLevels
	known := append(alert.Shipped(), levelRules(levels)...)
	for _, r := range known {
		if r.Name == "dangerous" && !slices.Contains(levels, "dangerous") && !slices.Contains(levels, "suspicious") || slices.Contains(set.Off, r.Name) {
			continue
		}
		if !slices.ContainsFunc(set.Rules, func(own config.AlertRule) bool { return own.Name == r.Name }) {
			rules = append(rules, r)
		}
	}
	for _, name := range set.Off {
		if !slices.ContainsFunc(known, func(r alert.Rule) bool { return r.Name == name }) {
			return nil, fault.New("app.alerts", fault.Config, "alerts.off names %q, which is no shipped rule; docs/alerts.md lists them", name)
		}
	}
	for _, c := range set.Rules {
		r, err := alertRuleOf(c)
		if err != nil {
			return nil, err
		}
		rules = append(rules, r)
	}
	return rules, nil
}

// levelRules are the rules that monitoring.alert_levels stands for beside
// dangerous, which is a shipped one.
func levelRules(levels []string) []alert.Rule {
	by := []string{"agent", "type"}
	all := []alert.Rule{
		{Name: "suspicious", Alert: "suspicious", By: by, Severity: alert.Medium, Title: "something suspicious was seen at agent {agent}: {type}"},
		{Name: "warning", Level: "warning", By: by, Severity: alert.Low, Title: "a warning at agent {agent}: {type}"},
		{Name: "error", Level: "error", By: by, Severity: alert.Medium, Title: "an error at agent {agent}: {type}"},
	}
	return slices.DeleteFunc(all, func(r alert.Rule) bool { return !slices.Contains(levels, r.Name) })
}

func alertRuleOf(c config.AlertRule) (alert.Rule, error) {
	r := alert.Rule{
		Name: c.Name, Event: c.Event, Level: c.Level, Alert: c.Alert, Agent: c.Agent, Min: c.Min, Count: c.Count, By: c.By, Title: c.Title, Sinks: c.Sinks,
	}
	var err error
	if r.Severity, err = alert.ParseSeverity(c.Severity); err != nil {
		return r, err
	}
	if r.Within, err = spanOf(c.Name, c.Within); err != nil {
		return r, err
	}
	r.Cooldown, err = spanOf(c.Name, c.Cooldown)
	return r, err
}

func spanOf(rule, text string) (time.Duration, error) {
	if text == "" {
		return 0, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		return 0, fault.New("app.alerts", fault.Config, "alert rule %q: %q is no time; write it as 10m or 1h30m", rule, text)
	}
	return d, nil
}

// alertSinks makes the sinks of the configuration. Each may connect to its own
// address and nowhere else.
func (a *App) alertSinks() ([]alert.Sink, error) {
	var out []alert.Sink
	for _, c := range a.Config.Alerts.Sinks {
		s, err := a.alertSink(c)
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(out, func(o alert.Sink) bool { return o.Name() == s.Name() }) {
			return nil, fault.New("app.alerts", fault.Config, "there are two alert sinks named %q; rename one", c.Name)
		}
		out = append(out, s)
	}
	return out, nil
}

func (a *App) alertSink(c config.AlertSink) (alert.Sink, error) {
	switch {
	case c.Webhook != nil:
		secret, err := a.alertSecret(c.Name, c.Webhook.SecretEnv)
		if err != nil {
			return nil, err
		}
		u, err := url.Parse(c.Webhook.URL)
		if err != nil || u.Host == "" {
			return alert.NewWebhook(c.Name, c.Webhook.URL, secret, nil) // says what is wrong
		}
		port := u.Port()
		if port == "" {
			port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
		}
		dial, err := dialerTo(net.JoinHostPort(u.Hostname(), port))
		if err != nil {
			return nil, err
		}
		return alert.NewWebhook(c.Name, c.Webhook.URL, secret, dial.Client(egress.ClientOptions{}))
	case c.Syslog != nil:
		o := alert.SyslogOptions{Network: c.Syslog.Network, Address: c.Syslog.Address, Facility: c.Syslog.Facility, Dial: datagrams}
		if o.Network == "tcp" || o.Network == "tls" {
			dial, err := dialerTo(o.Address)
			if err != nil {
				return nil, err
			}
			o.Dial = dial.DialContext
		}
		return alert.NewSyslog(c.Name, o)
	case c.Mail != nil:
		o := alert.MailOptions{Server: c.Mail.Server, From: c.Mail.From, To: c.Mail.To}
		dial, err := dialerTo(o.Server)
		if err != nil {
			return nil, err
		}
		o.Dial = dial.DialContext
		if o.User, err = a.alertSecret(c.Name, c.Mail.UserEnv); err != nil {
			return nil, err
		}
		if o.Password, err = a.alertSecret(c.Name, c.Mail.PasswordEnv); err != nil {
			return nil, err
		}
		return alert.NewMail(c.Name, o)
	}
	return alert.NewCommand(c.Name, c.Command, runCommand)
}

// alertSecret looks a variable up; no name needs none.
func (a *App) alertSecret(sink, name string) (string, error) {
	if name == "" {
		return "", nil
	}
	v, ok := a.Env.Lookup(name)
	if !ok || v == "" {
		return "", &fault.Error{Op: "app.alerts", Kind: fault.Config, Err: ErrUnset, Public: fmt.Sprintf(
			"the alert sink %s needs %s, which is not set; set it in the environment or in .env, or take the sink out of alerts.sinks", sink, name)}
	}
	return v, nil
}

// dialerTo makes a dialer that reaches one host and port, be it on this machine:
// the operator wrote it there.
func dialerTo(hostport string) (*egress.Dialer, error) {
	rule, err := egress.ParseRule(hostport)
	if err != nil {
		return nil, fault.Wrap("app.alerts", fault.Config, err)
	}
	return egress.New(egress.Config{Allow: []egress.Rule{rule}, Only: []egress.Rule{rule}}), nil
}

// datagrams connects to a syslog receiver by datagram or local socket, which
// egress, made for connections that agents cause, does not speak. The address is
// the operator's, written in the configuration.
func datagrams(ctx context.Context, network, address string) (net.Conn, error) {
	return (&net.Dialer{}).DialContext(ctx, network, address) //nolint:forbidigo // see above
}

// commandGrace is how long a program's output may stay open after its end.
const commandGrace = time.Second

// runCommand runs a sink's program. Processes belong to sandbox; this one is
// started here because it is the operator's own, named by an absolute path in
// the configuration of whoever owns the state directory, and must reach what
// the operator reaches. No shell is between, nothing is inherited but PATH and
// the time limit, and its only input is the alert.
func runCommand(ctx context.Context, argv []string, stdin []byte) error {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...) //nolint:forbidigo // why here: see above
	cmd.Dir, cmd.Env, cmd.WaitDelay = "/", []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}, commandGrace
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(stdin), io.Discard, io.Discard
	groupKilled(cmd)
	return cmd.Run()
}
