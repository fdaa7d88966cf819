// Package moderation asks what kind of harm a text may hold, by category: of a
// service that speaks OpenAI's moderation API, or of word lists built in.
//
// Invariants: what a service says is untrusted and bounded; a text is judged
// wholly or Check is an error, never by its first part alone; an answer that
// does not judge every text is an error, not a clean bill; no error holds the
// key, a text or the service's words. What an error leads to is the caller's
// setting, on_error; screen.ModerationFailed turns it into a verdict, by default
// an ask, which is a denial where nobody answers.
//
// It imports fault, llm's wire types, scan and screen. App hands it to those
// who have text; the Doer is built by egress.
package moderation

import (
	"context"
	"maps"
)

// Result is what a moderator says of texts together.
type Result struct {
	// Flagged says that a category reached the moderator's own limit.
	Flagged bool
	// Categories are scores from 0 to 1, of each category the highest of all
	// texts; one that the moderator itself flags has at least
	// screen.DefaultThreshold. screen.FromModeration makes a verdict of them.
	Categories map[string]float64
}

// Moderator judges texts. Its errors are those of package fault: Unavailable
// when it could not judge, Budget when there is more text than it takes.
type Moderator interface {
	Check(ctx context.Context, texts []string) (Result, error)
}

// join takes the worse of both.
func (r *Result) join(q Result) {
	r.Flagged = r.Flagged || q.Flagged
	if r.Categories == nil && len(q.Categories) > 0 {
		r.Categories = maps.Clone(q.Categories)
		return
	}
	for name, score := range q.Categories {
		r.Categories[name] = max(r.Categories[name], score)
	}
}
