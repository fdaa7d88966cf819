package app

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"sallyport/internal/fault"
	"sallyport/internal/guard/screen"
)

const castSuffix = ".cast"

// Transcript is a recording of what a guarded program showed.
type Transcript struct {
	Session string    `json:"session"`
	File    string    `json:"file"`
	Bytes   int64     `json:"bytes"`
	Ended   time.Time `json:"ended"`
}

// Transcripts lists the recordings, newest first.
func (a *App) Transcripts() ([]Transcript, error) {
	entries, err := os.ReadDir(a.transcriptsDir())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fault.Wrap("app.transcripts", fault.Unavailable, err)
	}
	out := []Transcript{}
	for _, e := range entries {
		id, ok := strings.CutSuffix(e.Name(), castSuffix)
		info, err := e.Info()
		if !ok || err != nil || !info.Mode().IsRegular() {
			continue
		}
		out = append(out, Transcript{Session: id, File: filepath.Join(a.transcriptsDir(), e.Name()), Bytes: info.Size(), Ended: info.ModTime()})
	}
	slices.SortFunc(out, func(x, y Transcript) int { return y.Ended.Compare(x.Ended) })
	return out, nil
}

// ReplayOptions say how a recording is shown.
type ReplayOptions struct {
	Speed float64       // 2 is twice as fast; 0 = 1
	Idle  time.Duration // a pause is never longer; 0 = as it was
	Text  bool          // as plain text, at once
}

// Replay shows the recording of a session; the empty id is the newest. What is
// shown is filtered again: a file can be changed.
func (a *App) Replay(ctx context.Context, w io.Writer, session string, o ReplayOptions) error {
	list, err := a.Transcripts()
	if err != nil {
		return err
	}
	i := slices.IndexFunc(list, func(t Transcript) bool { return session == "" || t.Session == session })
	if i < 0 {
		return fault.New("app.replay", fault.NotFound, "there is no recording of %q; `sallyport replay --list` shows them", session)
	}
	f, err := os.Open(list[i].File)
	if err != nil {
		return fault.Wrap("app.replay", fault.Unavailable, err)
	}
	defer func() { _ = f.Close() }() // only read
	if o.Text {
		return screen.Text(f, w)
	}
	return screen.Play(ctx, f, w, screen.PlayOptions{Speed: o.Speed, IdleLimit: o.Idle})
}
