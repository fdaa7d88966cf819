package agent

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	"sallyport/internal/action"
	"sallyport/internal/fault"
	"sallyport/internal/label"
	"sallyport/internal/principal"
	"sallyport/internal/record"
)

// House is what an agent of an organisation can do beside its shell: read and
// keep classified items, write to others, have others work for it. All of it is
// configuration; whether one step happens is decided at the gate.
type House struct {
	Tier        string       // the agent's own; "" for none
	First       bool         // of the first tier: takes signed instructions, talks to people
	ExtractBits int          // budget of extraction that a run begins with (rule R7)
	Scheme      label.Scheme // the operator's names of levels and compartments
	Inbox       []Slot       // mailboxes it reads
	Writes      []string     // agents it may write to
	Workers     []Worker     // agents whose contexts it may make, itself among them
	Folders     []Slot       // labelled directories it may open
}

// Slot is something with a fixed label.
type Slot struct {
	Name  string // the tier that writes, or the folder
	Label label.Label
}

// Worker is an agent that may be given work.
type Worker struct {
	Name    string
	Ceiling label.Label   // the highest that a context of it may reach
	Budget  record.Micros // its account's limit; negative = none
}

func (h *House) worker(name string) (Worker, bool) {
	i := slices.IndexFunc(h.Workers, func(w Worker) bool { return w.Name == name })
	if i < 0 {
		return Worker{}, false
	}
	return h.Workers[i], true
}

// houseWords are the built-ins of an organisation.
var houseWords = []string{"index", "read", "keep", "send", "inbox", "spawn", "extract", "lower", "open", "context"}

// inHouse carries out a built-in of the organisation; ok is false for what is
// none.
func (r *run) inHouse(ctx context.Context, name, arg string) (e effect, ok bool, err error) {
	if r.spec.House == nil || !slices.Contains(houseWords, name) {
		return effect{}, false, nil
	}
	f := map[string]func(context.Context, call) (effect, error){
		"index": r.index, "read": r.read, "keep": r.keepItem, "send": r.send, "inbox": r.inbox, "spawn": r.spawnChild,
		"extract": r.extract, "lower": r.lower, "open": r.openFolder, "context": r.about,
	}[name]
	c, err := parseCall(arg)
	if err == nil {
		e, err = f(ctx, c)
	}
	if wrong, is := errors.AsType[misuse](err); is {
		return effect{text: foreign(name+": "+string(wrong), r.prompts), stop: true}, true, nil
	}
	return e, true, err
}

// misuse is what is wrong with the words of a built-in; it is told to the model.
type misuse string

// Error implements error.
func (m misuse) Error() string { return string(m) }

// act sends an action of the context through the gate and gives what came of
// it as text for the model. A refusal, a failure and an interrupt are texts; an
// error ends the run.
func (r *run) act(ctx context.Context, kind action.Kind, target string, args map[string]any, body []byte) (effect, error) {
	began := r.deps.Now()
	detail := oneLine(string(kind)+" "+target, 80)
	r.status(Running, detail, 0)
	var res record.Result
	interrupted, err := r.ints.during(ctx, func(ctx context.Context) (err error) {
		res, err = r.doIn(ctx, r.context, principal.ForAgent(r.spec.Username), action.Action{Kind: kind, Target: target, Args: args, Body: body})
		return err
	})
	r.status(Idle, detail, r.deps.Now().Sub(began))
	switch {
	case ctx.Err() != nil:
		return effect{}, context.Cause(ctx)
	case err != nil && stopped(err):
		r.ended = EndedStopped
		return effect{}, err
	case err != nil && interrupted:
		r.interruptedTurn()
		return effect{text: "[interrupted by the operator]", stop: true}, nil
	case err != nil && refused(err):
		return effect{text: foreign(fault.PublicText(err), r.prompts), stop: true, denied: judged(err)}, nil
	case err != nil:
		r.deps.Console.Print(FromError, err.Error())
		return effect{text: foreign("["+string(kind)+" was not completed: "+fault.PublicText(err)+"]", r.prompts), stop: true}, nil
	}
	return effect{text: r.fit(res.Output)}, nil
}

// fit makes what an executor gave fit for the transcript.
func (r *run) fit(output string) string {
	return cut(foreign(bounded(output), r.prompts), r.spec.OutputTokens, int64(len(output)), r.script.count)
}

// named adds what names a body exactly to an action's arguments.
func named(args map[string]any, body []byte) map[string]any {
	sum := sha256.Sum256(body)
	args["sha256"], args["bytes"] = hex.EncodeToString(sum[:]), int64(len(body))
	return args
}

// show gives a label in the operator's words.
func (r *run) show(l label.Label) string {
	if r.spec.House != nil {
		return r.spec.House.Scheme.Format(l)
	}
	return l.String()
}

func (r *run) index(ctx context.Context, c call) (effect, error) {
	if err := c.takes(0, false); err != nil {
		return effect{}, err
	}
	return r.act(ctx, action.DataRead, "index", map[string]any{"item": "index"}, nil)
}

func (r *run) read(ctx context.Context, c call) (effect, error) {
	if err := c.takes(1, false, "taint"); err != nil {
		return effect{}, err
	}
	return r.readItem(ctx, c.words[0], c.has("taint"))
}

func (r *run) readItem(ctx context.Context, ref string, taint bool) (effect, error) {
	args := map[string]any{"item": ref}
	if taint {
		args["taint"] = "yes"
	}
	return r.act(ctx, action.DataRead, ref, args, nil)
}

func (r *run) openFolder(ctx context.Context, c call) (effect, error) {
	if err := c.takes(1, false); err != nil {
		return effect{}, err
	}
	return r.readItem(ctx, "folder/"+c.words[0], true)
}

func (r *run) keepItem(ctx context.Context, c call) (effect, error) {
	if err := c.takes(0, true); err != nil {
		return effect{}, err
	}
	body := []byte(c.text)
	return r.act(ctx, action.DataWrite, "new", named(map[string]any{"item": "new"}, body), body)
}

func (r *run) send(ctx context.Context, c call) (effect, error) {
	if err := c.takes(1, true); err != nil {
		return effect{}, err
	}
	to, tier, body := c.words[0], r.spec.House.Tier, []byte(c.text)
	args := named(map[string]any{"recipient": to, "slot": tier}, body)
	return r.act(ctx, action.MessageSend, "mail/"+to+"/"+tier, args, body)
}

// inbox lists the mailboxes, which is configuration, or what is in one.
func (r *run) inbox(ctx context.Context, c call) (effect, error) {
	if len(c.words) > 0 || c.text != "" {
		if err := c.takes(1, false, "taint"); err != nil {
			return effect{}, err
		}
		return r.readItem(ctx, "mail/"+r.spec.Username+"/"+c.words[0], c.has("taint"))
	}
	var b strings.Builder
	for _, s := range r.spec.House.Inbox {
		fmt.Fprintf(&b, "mail from %s: label %s; open it with: inbox %s\n", s.Name, r.show(s.Label), s.Name)
	}
	if b.Len() == 0 {
		b.WriteString("Nobody may write to you.\n")
	}
	return effect{text: b.String()}, c.takes(0, false)
}

// lower asks people to make a copy of an item with a lower label.
func (r *run) lower(ctx context.Context, c call) (effect, error) {
	if err := c.takes(2, true); err != nil {
		return effect{}, err
	}
	to, err := r.spec.House.Scheme.Parse(c.words[1])
	if err != nil {
		return effect{}, misuse(err.Error())
	}
	if strings.TrimSpace(c.text) == "" {
		return effect{}, misuse("people sign for a purpose; say which, in quotes")
	}
	// Whoever looks the item up names the copy: a request made again must be the
	// very one that people signed.
	return r.act(ctx, action.DataLower, c.words[0], map[string]any{
		"item": c.words[0], "label": to.String(), "purpose": c.text,
	}, nil)
}

// about shows the agent where its context stands.
func (r *run) about(_ context.Context, c call) (effect, error) {
	text := fmt.Sprintf("label %s, ceiling %s, %d bits left for extract; memory %s\n",
		r.show(r.label), r.show(r.ceiling), r.bits, r.show(r.spec.Memory))
	return effect{text: text}, c.takes(0, false)
}
