package app

import (
	"context"
	"net/url"
	"sync/atomic"
	"time"

	"sallyport/internal/audit"
	"sallyport/internal/config"
	"sallyport/internal/egress"
	"sallyport/internal/fault"
	"sallyport/internal/record"
	"sallyport/internal/store"
)

// anchorEvery bounds how much history is on this machine alone while it is
// busy; the last checkpoint is pushed at the end in any case.
const anchorEvery = 2 * time.Second

// anchorGrace bounds how long a process waits at its end for a slow anchor.
const anchorGrace = 10 * time.Second

// anchoring pushes checkpoints to the places named in log.anchor. The store's
// writer offers them, so the store is told to it after it was opened.
type anchoring struct {
	pusher *audit.Pusher // nil without anchors
	store  atomic.Pointer[store.Store]
}

// newAnchoring starts pushing; env is git's environment.
func newAnchoring(list []config.Anchor, env []string) (*anchoring, error) {
	p := &anchoring{}
	if len(list) == 0 {
		return p, nil
	}
	anchors := make([]audit.Anchor, 0, len(list))
	for _, a := range list {
		switch {
		case a.File != "":
			anchors = append(anchors, audit.FileAnchor{Path: a.File})
		case a.Git != "":
			anchors = append(anchors, audit.GitAnchor{Dir: a.Git, Env: env})
		default:
			hook, err := webhook(a.Webhook)
			if err != nil {
				return nil, err
			}
			anchors = append(anchors, hook)
		}
	}
	p.pusher = audit.NewPusher(anchors, anchorEvery, p.pushed)
	return p, nil
}

// webhook connects through the one dialer. The operator named the address, so
// it may be a private one.
func webhook(raw string) (audit.WebhookAnchor, error) {
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" {
		return audit.WebhookAnchor{}, fault.New("app.anchor", fault.Config, "log.anchor: the webhook is no web address")
	}
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	rule, err := egress.ParseRule(u.Hostname() + ":" + port)
	if err != nil {
		return audit.WebhookAnchor{}, fault.Wrap("app.anchor", fault.Config, err)
	}
	dial := egress.New(egress.Config{Allow: []egress.Rule{rule}, Only: []egress.Rule{rule}})
	return audit.WebhookAnchor{URL: raw, Client: dial.Client(egress.ClientOptions{})}, nil
}

// offer is called by the store's writer after each commit.
func (p *anchoring) offer(size int64, note []byte) {
	if p.pusher != nil {
		p.pusher.Offer(size, note)
	}
}

// pushed records how a push went. Only a change is an event: an event makes a
// checkpoint, and a checkpoint a push.
func (p *anchoring) pushed(ctx context.Context, name string, size int64, err error, changed bool) {
	st := p.store.Load()
	if st == nil {
		return
	}
	ctx = context.WithoutCancel(ctx)
	problem := ""
	if err != nil {
		problem = fault.PublicText(err)
	}
	// What cannot be recorded about an anchor is seen in its missing progress.
	_ = st.SetAnchor(ctx, name, size, problem)
	if !changed {
		return
	}
	e := record.Event{Type: "log.anchor", Channel: "SYSTEM", Level: "info", Alert: "none", Data: map[string]any{"anchor": name, "size": size}}
	if problem != "" {
		e.Level, e.Alert, e.Data["error"] = "error", "suspicious", problem
	}
	_, _ = st.Append(ctx, e)
}

// stop pushes what waits; a failure was recorded and is not the caller's.
func (p *anchoring) stop() {
	if p.pusher == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), anchorGrace)
	defer cancel()
	_ = p.pusher.Close(ctx)
}
