package moderation

import (
	"context"
	"strings"

	"sallyport/internal/fault"
	"sallyport/internal/scan"
	"sallyport/internal/scan/screen"
)

// Builtin judges by word lists in English: whole words and phrases, in any
// case, also in codings and behind look-alike letters. It knows no context:
// news, fiction, law and help read like the harm they speak of, and harm in
// other words passes. It is there for those who have no service, and to have
// something before one answers; docs/monitor-rules.md has its measured rates.
type Builtin struct {
	engine     *scan.Engine
	categories []string
}

var _ Moderator = (*Builtin)(nil)

// Scores of the built-in lists: a phrase that says what is meant; several words
// that only belong to the subject; one of them.
const (
	scorePhrase  = 0.9
	scoreSeveral = 0.6
	scoreWord    = 0.2
)

// NewBuiltin compiles the lists.
func NewBuiltin() (*Builtin, error) {
	var words []scan.Keyword
	var categories []string
	for _, l := range lists() {
		categories = append(categories, l.category)
		for _, p := range l.phrases {
			words = append(words, scan.Keyword{Text: p, Mode: scan.Word, List: l.category + ".phrase"})
		}
		for _, w := range l.words {
			words = append(words, scan.Keyword{Text: w, Mode: scan.Word, List: l.category + ".word"})
		}
	}
	e, err := scan.Compile(scan.Options{Keywords: words, Classes: []string{}})
	if err != nil {
		return nil, fault.Wrap("moderation.builtin", fault.Internal, err)
	}
	return &Builtin{e, categories}, nil
}

// Check judges texts together. A text that could not be read wholly is an error.
func (b *Builtin) Check(ctx context.Context, texts []string) (Result, error) {
	out := Result{Categories: map[string]float64{}}
	for _, name := range b.categories {
		out.Categories[name] = 0
	}
	sc := b.engine.NewScanner()
	for _, t := range texts {
		if err := ctx.Err(); err != nil {
			return Result{}, fault.Wrap("moderation.builtin", fault.Canceled, err)
		}
		r := sc.Scan([]byte(t))
		if len(r.Unscanned) > 0 {
			return Result{}, fault.New("moderation.builtin", fault.Unavailable, "a text could not be read wholly: %s; moderation.on_error says what that leads to", r.Unscanned[0].Because)
		}
		out.join(judge(r.Findings))
	}
	for _, score := range out.Categories {
		out.Flagged = out.Flagged || score >= screen.DefaultThreshold
	}
	return out, nil
}

// judge scores the findings of one text.
func judge(findings []scan.Finding) Result {
	scores, seen := map[string]float64{}, map[string]string{}
	for i := range findings {
		f := &findings[i]
		name, kind, _ := strings.Cut(strings.TrimPrefix(f.Rule, "keyword."), ".")
		score := scoreWord
		switch first, ok := seen[name]; {
		case kind == "phrase":
			score = scorePhrase
		case ok && first != f.Detail:
			score = scoreSeveral
		default:
			seen[name] = f.Detail
		}
		scores[name] = max(scores[name], score)
	}
	return Result{Categories: scores}
}
