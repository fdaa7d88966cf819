package agent

import (
	"context"
	"strconv"
	"strings"

	"sallyport/internal/action"
	"sallyport/internal/label"
)

// Task makes a run that of a child: a context that another context made to
// have work done. Its result is the note it ends with (Summary.Note). It has no
// memory, neither before nor after.
type Task struct {
	Context string      // made by the agent.spawn that asked for it
	Label   label.Label // it was born with
	Ceiling label.Label // it cannot rise above; its result counts as this
	Bits    int         // of extraction that it was given
	From    string      // the agent that gave the task
	Down    bool        // that agent stands above this one, or is the same
	Text    string
}

// maxTask bounds a task, in bytes.
const maxTask = 256 << 10

// spawnChild has another agent work on a task. What comes of it is a future
// that counts as the child's ceiling from birth: whether it is there, and
// whether it failed, is told to who reads it.
func (r *run) spawnChild(ctx context.Context, c call) (effect, error) {
	if err := c.takes(1, true, "ceiling", "bits"); err != nil {
		return effect{}, err
	}
	w, ok := r.spec.House.worker(c.words[0])
	if !ok {
		var names []string
		for _, w := range r.spec.House.Workers {
			names = append(names, w.Name)
		}
		return effect{}, misuse("you may give work to " + strings.Join(names, ", "))
	}
	ceiling := r.ceiling.Meet(w.Ceiling)
	if c.has("ceiling") {
		l, err := r.spec.House.Scheme.Parse(c.flags["ceiling"])
		if err != nil {
			return effect{}, misuse(err.Error())
		}
		ceiling = l
	}
	var share int
	if c.has("bits") {
		n, err := strconv.Atoi(c.flags["bits"])
		if err != nil || n < 0 || n > r.bits {
			return effect{}, misuse("rule R7: --bits takes a part of your own budget, 0 to " + strconv.Itoa(r.bits))
		}
		share = n
	}
	if strings.TrimSpace(c.text) == "" || len(c.text) > maxTask {
		return effect{}, misuse("needs a task in quotes, of at most 256 KiB")
	}
	body := []byte(c.text)
	args := named(map[string]any{
		"agent": w.Name, "context": newID("c"), "label": r.label.String(), "ceiling": ceiling.String(), "budget": int64(w.Budget),
	}, body)
	if share > 0 {
		args["parent"], args["bits"] = r.context, int64(share)
	}
	e, err := r.act(ctx, action.AgentSpawn, w.Name, args, body)
	if !e.denied {
		r.bits -= share
	}
	return e, err
}

// task shows a child what it is to do. Who stands above it and has not read
// what anybody may have written gives orders; everything else is data.
func (r *run) task(t *Task) string {
	mark := "Data from "
	if t.Down && t.Label.Integrity >= label.Member {
		mark = orderMark
	}
	text := cut(foreign(t.Text, r.prompts), r.spec.TokenMax/2, int64(len(t.Text)), r.script.count)
	return mark + t.From + " (label " + r.show(t.Label) + "):\n" + text +
		"\nWork on it, then end with: endsession \"your result\"\n"
}
