package agent

import "sallyport/internal/llm/token"

// Internals for the tests of package agent_test.
var (
	Foreign    = foreign
	Cut        = cut
	Passed     = passed
	Unusable   = unusable
	ParsePause = parsePause
	Count      = token.Estimate
	Unquote    = unquote
)

// Piece is a step of a reply as the tests see it.
type Piece struct {
	Kind       string
	Text, Rest string
}

// Call reads what follows a built-in's name.
func Call(arg string) (words []string, flags map[string]string, text string, err error) {
	c, err := parseCall(arg)
	return c.words, c.flags, c.text, err
}

// SplitReply splits once.
func SplitReply(reply, user, cwd string) Piece {
	return pieceOf(split(reply, prompts{user, "sallyport"}, cwd, builtins{}))
}

// SplitHouse splits once as for an agent of an organisation.
func SplitHouse(reply, user, cwd string) Piece {
	return pieceOf(split(reply, prompts{user, "sallyport"}, cwd, builtins{house: true}))
}

func pieceOf(p piece) Piece {
	return Piece{[]string{"none", "command", "prompt", "stray"}[p.kind], p.text, p.rest}
}

// Prompt makes a model prompt.
func Prompt(user, cwd string, used, limit int) string {
	return prompts{user, "sallyport"}.model(cwd, used, limit)
}

// PromptsOf makes the prompts of a user.
func PromptsOf(user string) prompts { return prompts{user, "sallyport"} }
