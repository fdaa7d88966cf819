package app

import (
	"context"

	"sallyport/internal/record"
)

// terminalAsker puts an ask to the person at the console; silence and a closed
// input are no answer.
type terminalAsker struct{ console Console }

// Ask implements approval.Asker.
func (t terminalAsker) Ask(ctx context.Context, _ record.AskRow, render string) (answer, answered bool, err error) {
	return t.console.Confirm(ctx, render+"\nAllow this once?")
}
