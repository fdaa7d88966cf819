package app

import (
	"context"
	"fmt"

	"sallyport/internal/config"
	"sallyport/internal/egress"
	"sallyport/internal/fault"
	"sallyport/internal/label"
	"sallyport/internal/llm"
	"sallyport/internal/llm/moderation"
	"sallyport/internal/llmproxy"
	"sallyport/internal/record"
	"sallyport/internal/scan/screen"
)

// moderator judges texts of a caller by category; nil where nothing is moderated.
type moderator = func(ctx context.Context, who llmproxy.Caller, texts []string) (screen.Verdict, error)

// knows gives what a caller's context knows now.
type knows = func(ctx context.Context, s record.Scope) (record.Snapshot, error)

// newModerators gives what judges the texts that go to models, and those that
// models say. A service is a destination with a clearance: it is not sent what
// it may not see. One that cannot judge, for that reason or because it does not
// answer, does what moderation.on_error says.
func (a *App) newModerators(of knows) (input, output moderator, err error) {
	m := a.Config.Moderation
	if !m.Enabled {
		return nil, nil, nil
	}
	by, err := a.moderationService()
	if err != nil {
		return nil, nil, err
	}
	sees, err := a.moderationSees()
	if err != nil {
		return nil, nil, err
	}
	judge := func(ctx context.Context, who llmproxy.Caller, texts []string) (screen.Verdict, error) {
		snap, err := of(ctx, record.Scope{Agent: who.Agent, Session: who.Session, Context: who.Context})
		if err != nil {
			return screen.Verdict{}, err
		}
		if !snap.Context.ConfFlowsTo(sees) {
			return screen.ModerationFailed(screenActions[m.OnError]), nil
		}
		got, err := by.Check(ctx, texts)
		switch {
		case err != nil && ctx.Err() != nil:
			return screen.Verdict{}, err
		case err != nil:
			return screen.ModerationFailed(screenActions[m.OnError]), nil
		case !got.Flagged && len(m.Thresholds) == 0:
			return screen.Verdict{Alert: "none"}, nil
		}
		return screen.FromModeration(got.Categories, m.Thresholds, screenActions[m.Action]), nil
	}
	if m.Input {
		input = judge
	}
	if m.Output {
		output = judge
	}
	return input, output, nil
}

// moderationSees gives the clearance of what moderates: the built-in lists see
// everything, a service what `endpoints` says of its host, like a model's.
func (a *App) moderationSees() (label.Label, error) {
	if a.Config.Moderation.Endpoint == "" {
		return label.Unlabelled, nil
	}
	l, err := a.scheme().Parse(a.Config.ModelClearance(config.Model{Provider: "moderation", BaseURL: a.Config.Moderation.Endpoint}))
	return l, fault.Wrap("app.moderation", fault.Config, err)
}

// moderationService is the built-in word lists, or a service that the operator
// names.
func (a *App) moderationService() (moderation.Moderator, error) {
	m := a.Config.Moderation
	if m.Endpoint == "" {
		return moderation.NewBuiltin()
	}
	rules, err := dialRules(a.Config, a.Env)
	if err != nil {
		return nil, err
	}
	if hp, local := localAddress(m.Endpoint); local { // written down by the operator
		rule, err := egress.ParseRule(hp)
		if err != nil {
			return nil, fault.Wrap("app.moderation", fault.Config, err)
		}
		rules = append(rules, rule)
	}
	ep := llm.Endpoint{Provider: "moderation", BaseURL: m.Endpoint, Model: m.Model, KeyName: m.KeyEnv, KeyOptional: m.KeyEnv == ""}
	if m.KeyEnv != "" {
		key, _ := a.Env.Lookup(m.KeyEnv)
		if key == "" {
			return nil, &fault.Error{Op: "app.moderation", Kind: fault.Config, Err: ErrUnset, Public: fmt.Sprintf("moderation needs a key and %s is not set; set it in the environment or in .env", m.KeyEnv)}
		}
		ep.Key = func() string { return key }
	}
	return moderation.New(ep, egress.New(egress.Config{Allow: rules}).Client(egress.ClientOptions{}), moderation.Options{})
}
