package app

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"sallyport/internal/action"
	"sallyport/internal/approval"
	"sallyport/internal/fault"
	"sallyport/internal/label"
	"sallyport/internal/record"
)

// shownMost is how much of an item's bytes a person is shown who is asked to
// lower it, in bytes.
const shownMost = 4 << 10

// askNames says what the labels of a question are called here. What people sign
// has the standard names alone, so that it means the same wherever it is
// verified.
func (a *App) askNames(svc *approval.Service, row record.AskRow) string {
	act, err := svc.Describe(row)
	if err != nil {
		return ""
	}
	texts := map[string]bool{}
	for _, l := range act.ArgLabels {
		texts[l.String()] = true
	}
	for _, v := range act.Args {
		if s, ok := v.(string); ok {
			texts[s] = true
		}
	}
	var b strings.Builder
	for _, text := range slices.Sorted(maps.Keys(texts)) {
		if l, err := label.Parse(text); err == nil && a.scheme().Format(l) != l.String() {
			fmt.Fprintf(&b, "  %s is called %s here\n", text, a.scheme().Format(l))
		}
	}
	return b.String()
}

// askDetail gives what people need to see besides the statement they sign: of a
// lowering, the first bytes of the item, if the person here is cleared for them.
// That they were read is on record.
func (a *App) askDetail(ctx context.Context, row record.AskRow) (string, error) {
	if row.Kind != action.DataLower || row.State != record.AskOpen {
		return "", nil
	}
	svc, signer, err := a.People(ctx, nil)
	if err != nil {
		return "", err
	}
	act, err := svc.Describe(row)
	if err != nil {
		return "", err
	}
	trust, _, err := a.trusted(ctx)
	if err != nil {
		return "", err
	}
	r, err := trust.roster(ctx)
	if err != nil {
		return "", err
	}
	person, _ := r.Holder(signer.PublicKey())
	if !act.ArgLabels["item"].ConfFlowsTo(person.Clearance) {
		return "The item's bytes are above the clearance of the person whose key lies here, so they are not shown.\n", nil
	}
	var text string
	err = a.withBench(ctx, nil, func(b *bench) error {
		data, it, err := b.get(ctx, row.Target, map[string]any{"ask": row.ID})
		if err != nil {
			return err
		}
		defer clear(data)
		if it.Version != decided(act) {
			return fault.New("app.ask", fault.Conflict, "the item %s has another version than the one in question, so no answer counts; let it be asked anew", row.Target)
		}
		cut := data[:min(len(data), shownMost)]
		shown := strings.ReplaceAll(approval.Visible(string(cut)), "\n", "\n  | ") // no line of it looks like one of ours
		text = fmt.Sprintf("The item's first %d of %d bytes:\n  | %s\n", len(cut), len(data), shown)
		return nil
	})
	if err != nil && ctx.Err() == nil {
		return "The item's bytes cannot be shown: " + approval.Visible(fault.PublicText(err)) + "\n", nil
	}
	return text, err
}
