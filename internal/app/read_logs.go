package app

import (
	"context"
	"time"

	"sallyport/internal/obs"
)

// LogLine is one line of the readable log.
type LogLine = obs.Line

const followEvery = 250 * time.Millisecond

// Logs calls each for the readable log's lines, oldest first, the rotated
// files included; with follow it goes on with new lines until ctx ends.
func (a *App) Logs(ctx context.Context, follow bool, each func(LogLine) error) error {
	if !follow {
		return obs.ReadLog(a.Paths.Log, each)
	}
	return obs.Follow(ctx, a.Paths.Log, followEvery, each)
}
