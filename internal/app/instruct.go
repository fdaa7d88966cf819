package app

import (
	"cmp"
	"context"
	"crypto/rand"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"sallyport/internal/action"
	"sallyport/internal/approval"
	"sallyport/internal/fault"
	"sallyport/internal/gate"
	"sallyport/internal/label"
	"sallyport/internal/record"
)

// InstructionRequest is an order that a person gives an agent.
type InstructionRequest struct {
	To        string        // the agent
	Text      string        // 1 to 64 KiB of UTF-8
	Type      string        // what kind of order; "" means task
	Label     string        // of the text; "" means public
	Clearance string        // the most that the context that carries it out may see; "" means internal
	Expires   time.Duration // how long it may wait to be carried out; 0 means 24 h, at most 7 days
	By        Signing
}

// InstructionInfo is what is shown of an instruction.
type InstructionInfo struct {
	ID        string    `json:"id"`
	To        string    `json:"to"`
	Type      string    `json:"type"`
	Label     string    `json:"label"`
	Clearance string    `json:"clearance"`
	Text      string    `json:"text"`
	State     string    `json:"state"` // asked (signatures are missing), denied, withdrawn, waiting, taken, expired or refused
	Because   string    `json:"because,omitempty"`
	Ask       string    `json:"ask,omitempty"` // the question that waits for signatures
	Signed    []string  `json:"signed"`        // who signed, as far as it counts today
	Created   time.Time `json:"created"`
	Expires   time.Time `json:"expires"`
}

const (
	maxInstruction     = 64 << 10
	instructionLife    = 24 * time.Hour
	maxInstructionLife = 7 * 24 * time.Hour
)

// Instruct signs an order to an agent with the person's key. When that is
// enough, the agent finds it; else the last of the others' signatures gives it.
func (a *App) Instruct(ctx context.Context, r InstructionRequest) (InstructionInfo, error) {
	act, err := a.instruction(r)
	if err != nil {
		return InstructionInfo{}, err
	}
	src, _, err := a.trusted(ctx)
	if err != nil {
		return InstructionInfo{}, err
	}
	signer, done, err := a.signerOf(ctx, src, r.By)
	if err != nil {
		return InstructionInfo{}, err
	}
	defer done()
	roster, err := src.roster(ctx)
	if err != nil {
		return InstructionInfo{}, err
	}
	person, ok := roster.Holder(signer.PublicKey())
	if !ok {
		return InstructionInfo{}, fault.New("app.instruct", fault.Denied, "nobody in the trust file holds the key that would sign, so no agent would take the instruction; `sallyport trust show` lists who may")
	}
	if ceiling, err := label.Parse(act.Arg("clearance")); err != nil || !ceiling.ConfFlowsTo(person.Clearance) {
		return InstructionInfo{}, fault.New("app.instruct", fault.Denied, "%s is cleared for %s and cannot lend an agent %s; choose a lower --clearance", person.Name, person.Clearance, act.Arg("clearance"))
	}
	var ask record.AskRow
	res, err := a.operate(ctx, act, operation{person: person.Name, signer: signer, asked: func(row record.AskRow) { ask = row }})
	if err != nil {
		if waits, werr := a.stillOpen(ctx, ask.ID); werr != nil || !waits {
			return InstructionInfo{}, err
		}
		return a.askedInstruction(act, ask), nil
	}
	ins, _ := res.Payload.(record.Instruction)
	return a.instructionInfo(ctx, ins), nil
}

// instruction makes the action; policy says whether it may be.
func (a *App) instruction(r InstructionRequest) (action.Action, error) {
	const op = "app.instruct"
	bad := func(format string, args ...any) (action.Action, error) {
		return action.Action{}, fault.New(op, fault.Usage, format, args...)
	}
	switch {
	case r.To == "":
		return bad("an instruction names the agent it is for: --to AGENT")
	case strings.TrimSpace(r.Text) == "" || len(r.Text) > maxInstruction || !utf8.ValidString(r.Text):
		return bad("an instruction is 1 byte to 64 KiB of UTF-8 text")
	case r.Expires < 0 || r.Expires > maxInstructionLife:
		return bad("an instruction waits at most 7 days to be carried out")
	}
	l, err := a.parseLabel("--label", cmp.Or(r.Label, "public"))
	if err != nil {
		return action.Action{}, err
	}
	ceiling, err := a.parseLabel("--clearance", cmp.Or(r.Clearance, "internal"))
	if err != nil {
		return action.Action{}, err
	}
	if !l.ConfFlowsTo(ceiling) {
		return bad("the text is %s, above the clearance %s it would be carried out with: raise --clearance", l, ceiling)
	}
	l.Integrity, ceiling.Integrity = label.Signed, label.Foreign
	life := cmp.Or(r.Expires, instructionLife)
	return action.Action{Kind: action.AgentInstruct, Target: r.To, Args: map[string]any{
		"text": r.Text, "label": l.String(), "clearance": ceiling.String(), "type": cmp.Or(r.Type, "task"),
		"id": "i-" + strings.ToLower(rand.Text()[:10]), "expires": time.Now().Add(life).UTC().Format(time.RFC3339),
	}}, nil
}

// parseLabel reads a label with the configured names; what gives no integrity
// is foreign.
func (a *App) parseLabel(flag, text string) (label.Label, error) {
	l, err := a.scheme().Parse(text)
	if err != nil {
		return l, a.unreadable(flag, err)
	}
	return l, nil
}

func (a *App) stillOpen(ctx context.Context, ask string) (bool, error) {
	st, err := a.Store(ctx)
	if err != nil || ask == "" {
		return false, err
	}
	row, err := st.Ask(ctx, ask)
	return row.State == record.AskOpen, err
}

func (a *App) askedInstruction(act action.Action, row record.AskRow) InstructionInfo {
	ins, err := instructionOf(act, row.Digest.String(), row.Created)
	out := infoOf(ins)
	out.State, out.Ask, out.Because, out.Signed = "asked", row.ID, row.Because, []string{}
	if err != nil {
		out.Because = err.Error()
	}
	return out
}

// putInstruction performs agent.instruct from nothing but the action.
type putInstruction struct{ app *App }

// Perform implements gate.Executor.
func (x putInstruction) Perform(ctx context.Context, p *gate.Permit) (record.Result, error) {
	act, err := p.Take()
	if err != nil {
		return record.Result{}, err
	}
	rules, err := x.app.Policy()
	if err != nil {
		return record.Result{}, err
	}
	digest, err := act.Digest(label.Bottom, rules.SetDigest()) // the operator has no context
	if err != nil {
		return record.Result{}, fault.Wrap("app.instruct", fault.Internal, err)
	}
	ins, err := instructionOf(act, digest.String(), time.Now().UTC())
	if err != nil {
		return record.Result{}, err
	}
	st, err := x.app.Store(ctx)
	if err != nil {
		return record.Result{}, err
	}
	if err := st.PutInstruction(ctx, ins); err != nil {
		return record.Result{}, err
	}
	return record.Result{Payload: ins, Data: map[string]any{"instruction": ins.ID}}, nil
}

// instructionOf reads an instruction from the action that gives it.
func instructionOf(act action.Action, digest string, created time.Time) (record.Instruction, error) {
	ins := record.Instruction{
		ID: act.Arg("id"), To: act.Target, Type: act.Arg("type"), Text: act.Arg("text"), Digest: digest, Created: created,
	}
	var err error
	if ins.Label, err = label.Parse(act.Arg("label")); err != nil {
		return ins, fault.Wrap("app.instruct", fault.Usage, err)
	}
	if ins.Ceiling, err = label.Parse(act.Arg("clearance")); err != nil {
		return ins, fault.Wrap("app.instruct", fault.Usage, err)
	}
	if ins.Expires, err = time.Parse(time.RFC3339, act.Arg("expires")); err != nil {
		return ins, fault.Wrap("app.instruct", fault.Usage, err)
	}
	return ins, nil
}

// VerifyInstruction says whether an agent may be shown an instruction: the
// signatures behind it are verified again, against the trust file of now, and
// everything in it must be what was signed. A row that was written by hand, or
// whose signer has been removed since, is fault.Denied.
func (a *App) VerifyInstruction(ctx context.Context, ins record.Instruction) error {
	_, err := a.InstructionSigners(ctx, ins)
	return err
}

// InstructionSigners is VerifyInstruction and names who signed.
func (a *App) InstructionSigners(ctx context.Context, ins record.Instruction) ([]string, error) {
	const op = "app.instruction"
	svc, _, err := a.People(ctx, nil)
	if err != nil {
		return nil, err
	}
	d, err := action.ParseDigest(ins.Digest)
	if err != nil {
		return nil, &fault.Error{Op: op, Kind: fault.Denied, Public: "instruction " + ins.ID + " names no signed action, so no agent is shown it", Err: err}
	}
	proof, err := svc.Proven(ctx, d)
	if err != nil {
		return nil, err
	}
	if !says(proof, ins) {
		return nil, fault.New(op, fault.Denied, "instruction %s is not what was signed, so no agent is shown it; give it again with `sallyport instruct`", ins.ID)
	}
	if !time.Now().Before(ins.Expires) {
		return nil, fault.New(op, fault.Denied, "instruction %s has expired; give it again with `sallyport instruct`", ins.ID)
	}
	return proof.People, nil
}

// says reports whether what was signed is this instruction, field by field.
func says(p approval.Proof, ins record.Instruction) bool {
	args, _ := p.Action["args"].(map[string]any)
	return p.Action["kind"] == string(action.AgentInstruct) && p.Action["agent"] == "" && p.Action["target"] == ins.To && maps.Equal(args, map[string]any{
		"text": ins.Text, "label": ins.Label.String(), "clearance": ins.Ceiling.String(), "type": ins.Type, "id": ins.ID,
		"expires": ins.Expires.UTC().Format(time.RFC3339),
	})
}

// Instructions lists the instructions to an agent, "" for all, oldest first;
// all gives those that are over too. Those that people have not all signed come
// last.
func (a *App) Instructions(ctx context.Context, to string, all bool) ([]InstructionInfo, error) {
	out := []InstructionInfo{}
	st, ok, err := a.reader(ctx)
	if err != nil || !ok {
		return out, err
	}
	rows, err := st.Instructions(ctx, to, true)
	if err != nil {
		return nil, err
	}
	for _, ins := range rows {
		if info := a.instructionInfo(ctx, ins); all || info.State == "waiting" || info.State == "refused" {
			out = append(out, info)
		}
	}
	asks, err := st.Asks(ctx, !all)
	if err != nil {
		return nil, err
	}
	svc, _, err := a.People(ctx, nil)
	if err != nil {
		return nil, err
	}
	for _, row := range asks {
		state := askOf(row, time.Now()).State
		if row.Kind != action.AgentInstruct || to != "" && row.Target != to || state == record.AskApproved || !all && state != record.AskOpen {
			continue
		}
		if act, err := svc.Describe(row); err == nil {
			info := a.askedInstruction(act, row)
			if state != record.AskOpen {
				info.State = state
			}
			out = append(out, info)
		}
	}
	return out, nil
}

func infoOf(ins record.Instruction) InstructionInfo {
	return InstructionInfo{
		ID: ins.ID, To: ins.To, Type: ins.Type, Label: ins.Label.String(), Clearance: ins.Ceiling.String(), Text: ins.Text,
		Created: ins.Created, Expires: ins.Expires,
	}
}

func (a *App) instructionInfo(ctx context.Context, ins record.Instruction) InstructionInfo {
	out := infoOf(ins)
	by, err := a.InstructionSigners(ctx, ins)
	out.Signed = slices.Concat([]string{}, by)
	switch {
	case !ins.Taken.IsZero():
		out.State = "taken"
	case !time.Now().Before(ins.Expires):
		out.State = "expired"
	case err != nil:
		out.State, out.Because = "refused", fault.PublicText(err)
	default:
		out.State = "waiting"
	}
	return out
}
