package app

import (
	"context"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"sallyport/internal/action"
	"sallyport/internal/approval"
	"sallyport/internal/fault"
	"sallyport/internal/gate"
	"sallyport/internal/record"
	"sallyport/internal/store"
)

// Ask is one question that people can answer.
type Ask struct {
	ID      string    `json:"id"`
	State   string    `json:"state"` // open, approved, denied, expired or withdrawn
	Agent   string    `json:"agent"`
	Session string    `json:"session"`
	Kind    string    `json:"kind"`
	Target  string    `json:"target"`
	Because string    `json:"because"`
	Created time.Time `json:"created"`
	Expires time.Time `json:"expires"`
	Digest  string    `json:"digest"`
	Signed  []string  `json:"signed,omitempty"` // people whose yes counts, of a question that is given whole
	Text    string    `json:"text,omitempty"`   // the whole question, safe for a terminal
}

func askOf(r record.AskRow, now time.Time) Ask {
	if r.State == record.AskOpen && !now.Before(r.Expires) {
		r.State = record.AskExpired
	}
	return Ask{
		ID: r.ID, State: r.State, Agent: r.Agent, Session: r.Session, Kind: string(r.Kind), Target: r.Target, Because: r.Because,
		Created: r.Created, Expires: r.Expires, Digest: r.Digest.String(),
	}
}

// Asks lists the questions, oldest first; all gives those that are over too.
func (a *App) Asks(ctx context.Context, all bool) ([]Ask, error) {
	out := []Ask{}
	st, ok, err := a.reader(ctx)
	if err != nil || !ok {
		return out, err
	}
	rows, err := st.Asks(ctx, !all)
	if err != nil {
		return nil, err
	}
	for _, r := range rows {
		out = append(out, askOf(r, time.Now()))
	}
	return out, nil
}

// AskText gives one question with its whole text, made from the very statement
// that an answer signs.
func (a *App) AskText(ctx context.Context, id string) (Ask, error) {
	svc, st, err := a.desk(ctx, id)
	if err != nil {
		return Ask{}, err
	}
	row, err := st.Ask(ctx, id)
	if err != nil {
		return Ask{}, err
	}
	ask := askOf(row, time.Now())
	if ask.Text, err = svc.Render(row, nil); err != nil {
		return Ask{}, &fault.Error{
			Op: "app.ask", Kind: fault.Corrupt, Err: err,
			Public: "the stored question " + id + " does not verify, so it must not be answered; run `sallyport verify`",
		}
	}
	if ask.Signed, err = svc.Signed(ctx, row); err != nil {
		return ask, err
	}
	ask.Text += a.askNames(svc, row)
	if len(ask.Signed) > 0 {
		ask.Text += "Signed so far by " + strings.Join(ask.Signed, ", ") + ".\n"
	}
	detail, err := a.askDetail(ctx, row)
	ask.Text += detail
	return ask, err
}

// desk opens what answering needs, without making a database for a question
// that cannot exist.
func (a *App) desk(ctx context.Context, id string) (*approval.Service, *store.Store, error) {
	st, ok, err := a.reader(ctx)
	if err != nil {
		return nil, nil, err
	}
	if !ok {
		return nil, nil, fault.New("app.ask", fault.NotFound, "there is no ask %s: nothing ever ran in %s", id, a.Paths.Home)
	}
	svc, _, err := a.People(ctx, nil)
	return svc, st, err
}

// Answered is what became of an answer.
type Answered struct {
	Ask     Ask  `json:"ask"`
	Carried bool `json:"carried"` // the operator's own action was carried out with it
}

// Answer signs yes or no with a person's key. The answer is good for exactly
// the action that was shown, once. The last yes to the operator's own action
// carries it out.
func (a *App) Answer(ctx context.Context, id string, yes bool, by Signing) (Answered, error) {
	svc, _, err := a.desk(ctx, id)
	if err != nil {
		return Answered{}, err
	}
	src, _, err := a.trusted(ctx)
	if err != nil {
		return Answered{}, err
	}
	signer, done, err := a.signerOf(ctx, src, by)
	if err != nil {
		return Answered{}, err
	}
	defer done()
	if !yes {
		err = svc.Deny(ctx, id, signer)
	} else {
		err = svc.Approve(ctx, id, signer)
	}
	if err != nil {
		return Answered{}, err
	}
	return a.answered(ctx, id)
}

// answered carries an action out if the answer that was just stored decided it.
func (a *App) answered(ctx context.Context, id string) (Answered, error) {
	st, err := a.Store(ctx)
	if err != nil {
		return Answered{}, err
	}
	row, err := st.Ask(ctx, id)
	if err != nil {
		return Answered{}, err
	}
	out := Answered{Ask: askOf(row, time.Now())}
	svc, _, err := a.People(ctx, nil)
	if err != nil {
		return out, err
	}
	if out.Ask.Signed, err = svc.Signed(ctx, row); err != nil {
		return out, err
	}
	if row.State == record.AskApproved {
		out.Carried, err = a.carryOut(ctx, row)
	}
	return out, err
}

// AnswerBytes gives the bytes that another tool signs to answer:
// `ssh-keygen -Y sign -n approve@sallyport`.
func (a *App) AnswerBytes(ctx context.Context, id string, yes bool) ([]byte, error) {
	svc, _, err := a.desk(ctx, id)
	if err != nil {
		return nil, err
	}
	return svc.Export(ctx, id, statementKind(yes))
}

// AnswerSigned stores an answer that another tool signed, as an armored SSH
// signature, and goes on as Answer does.
func (a *App) AnswerSigned(ctx context.Context, id string, yes bool, armored []byte) (Answered, error) {
	svc, _, err := a.desk(ctx, id)
	if err != nil {
		return Answered{}, err
	}
	if err := svc.Import(ctx, id, statementKind(yes), armored); err != nil {
		return Answered{}, err
	}
	return a.answered(ctx, id)
}

func statementKind(yes bool) string {
	if yes {
		return record.StatementApprove
	}
	return record.StatementDeny
}

// GrantInfo is one standing permission.
type GrantInfo struct {
	ID      string    `json:"id"`
	Parent  string    `json:"parent,omitempty"`
	Agent   string    `json:"agent"`
	Kind    string    `json:"kind"`
	Target  string    `json:"target"`
	Expires time.Time `json:"expires"`
	Uses    int       `json:"uses"`  // remaining; 0 = unlimited until expiry
	State   string    `json:"state"` // live, revoked (used up too) or expired
	Because string    `json:"because,omitempty"`
}

func grantOf(g record.Grant, now time.Time) GrantInfo {
	out := GrantInfo{
		ID: g.ID, Parent: g.Parent, Agent: g.Agent, Kind: string(g.Kind), Target: g.Target, Expires: g.Expires,
		Uses: g.Uses, State: "live", Because: g.Because,
	}
	switch {
	case g.Revoked:
		out.State = "revoked"
	case !now.Before(g.Expires):
		out.State = "expired"
	}
	return out
}

// Grants lists standing permissions; all gives those that ended too.
func (a *App) Grants(ctx context.Context, agent string, all bool) ([]GrantInfo, error) {
	out := []GrantInfo{}
	st, ok, err := a.reader(ctx)
	if err != nil || !ok {
		return out, err
	}
	now := time.Now()
	rows, err := st.Grants(ctx, "", now)
	if err != nil {
		return nil, err
	}
	for _, g := range rows {
		info := grantOf(g, now)
		if (agent == "" || g.Agent == agent) && (all || info.State == "live") {
			out = append(out, info)
		}
	}
	return out, nil
}

// grantsTarget is the document that trust.change changes for a grant.
const grantsTarget = "grants"

// Grant gives a standing permission, signed with the key of an owner.
func (a *App) Grant(ctx context.Context, g record.Grant, by Signing) (GrantInfo, error) {
	src, _, err := a.trusted(ctx)
	if err != nil {
		return GrantInfo{}, err
	}
	signer, done, err := a.signerOf(ctx, src, by)
	if err != nil {
		return GrantInfo{}, err
	}
	defer done()
	person := a.Operator(ctx)
	if by.named() {
		r, err := src.roster(ctx)
		if err != nil {
			return GrantInfo{}, err
		}
		if person = personOf(r, signer.PublicKey()); person == "" {
			return GrantInfo{}, fault.New("app.grant", fault.Denied, "nobody in the trust file holds the key that would sign, so the grant would count for nothing; `sallyport trust show` lists who may")
		}
	}
	act := action.Action{Kind: action.TrustChange, Target: grantsTarget, Args: map[string]any{"diff": map[string]any{
		"add": string(g.Kind), "agent": g.Agent, "target": g.Target, "expires": g.Expires.UTC().Format(time.RFC3339), "uses": int64(g.Uses),
		"parent": g.Parent, "because": g.Because,
	}}}
	res, err := a.operate(ctx, act, operation{person: person, signer: signer, exec: changeGrants{a, signer}})
	g, _ = res.Payload.(record.Grant)
	return grantOf(g, time.Now()), err
}

// Revoke ends a grant, and all that were delegated from it, at once.
func (a *App) Revoke(ctx context.Context, id, by string) error {
	_, ok, err := a.reader(ctx)
	if err != nil {
		return err
	}
	if !ok {
		return fault.New("app.revoke", fault.NotFound, "there is no grant %s: `sallyport grants` lists them", id)
	}
	_, err = a.changeOwn(ctx, action.Action{Kind: action.TrustChange, Target: grantsTarget, Args: map[string]any{"diff": map[string]any{"revoke": id, "by": by}}})
	return err
}

// changeOwn passes one of the operator's own actions on the word of whose key
// lies in the state directory.
func (a *App) changeOwn(ctx context.Context, act action.Action) (record.Result, error) {
	person, owner, err := a.localPerson(ctx)
	if err != nil {
		return record.Result{}, err
	}
	return a.operate(ctx, act, operation{person: person, signer: owner})
}

// changeGrants performs a change of the grants with the key of who is there.
type changeGrants struct {
	app    *App
	signer ssh.Signer
}

// Perform implements gate.Executor.
func (x changeGrants) Perform(ctx context.Context, p *gate.Permit) (record.Result, error) {
	act, err := p.Take()
	if err != nil {
		return record.Result{}, err
	}
	return x.app.changeGrants(ctx, act, x.signer)
}

// changeGrants performs a change of the grants, from nothing but the action and
// the key that signs what is given.
func (a *App) changeGrants(ctx context.Context, act action.Action, signer ssh.Signer) (record.Result, error) {
	svc, _, err := a.People(ctx, nil)
	if err != nil {
		return record.Result{}, err
	}
	diff, _ := act.Args["diff"].(map[string]any)
	text := func(name string) string { s, _ := diff[name].(string); return s }
	if id := text("revoke"); id != "" {
		return record.Result{}, svc.Revoke(ctx, id, text("by"))
	}
	expires, err := time.Parse(time.RFC3339, text("expires"))
	if err != nil {
		return record.Result{}, fault.Wrap("app.grant", fault.Usage, err)
	}
	uses, _ := diff["uses"].(int64)
	g, _, err := svc.Grant(ctx, record.Grant{
		Parent: text("parent"), Agent: text("agent"), Kind: action.Kind(text("add")), Target: text("target"), Uses: int(uses),
		Because: text("because"), Expires: expires,
	}, signer)
	return record.Result{Payload: g}, err
}
