package cli

import (
	"fmt"

	"sallyport/internal/app"
	"sallyport/internal/fault"
)

// replayCmd is `sallyport replay`.
type replayCmd struct {
	Session string  `arg:"" optional:"" help:"The session; without it the newest recording."`
	List    bool    `help:"List the recordings."`
	Text    bool    `help:"Plain text at once, without colours or movement."`
	Speed   float64 `default:"1" placeholder:"N" help:"Times as fast, 0.1 to 100."`
	Idle    span    `default:"2s" placeholder:"SPAN" help:"Pauses are never longer."`
}

// Help teaches.
func (replayCmd) Help() string {
	return `Shows what a guarded program showed. Recordings are asciicast files below the
state directory; what could drive your terminal was left out when they were
made and is left out again. Examples:
  sallyport replay
  sallyport replay s-1f0a --speed 4
  sallyport replay --list`
}

// Run plays.
func (r replayCmd) Run(c *call) error {
	if r.Speed < 0.1 || r.Speed > 100 {
		return fault.New("replay", fault.Usage, "--speed is 0.1 to 100, not %g", r.Speed)
	}
	if c.flags.JSON && !r.List {
		return fault.New("replay", fault.Usage, "a recording is played, not written as JSON; --list --json names its file, which is asciicast, a line of JSON for each event")
	}
	return c.with(func(a *app.App) error {
		if !r.List {
			return a.Replay(c.ctx, c.out, r.Session, app.ReplayOptions{Speed: r.Speed, Idle: r.Idle.Duration, Text: r.Text || c.width == 0})
		}
		list, err := a.Transcripts()
		if err != nil {
			return err
		}
		if c.flags.JSON {
			return c.json(map[string]any{"transcripts": list})
		}
		if len(list) == 0 {
			c.printf("no recordings; `sallyport guard -- PROGRAM` at a terminal makes one\n")
			return nil
		}
		t := table{cols: []column{{title: "SESSION"}, {title: "ENDED"}, {title: "BYTES", right: true}}}
		for _, x := range list {
			t.add(plain(x.Session), plain(localTime(x.Ended)), plain(fmt.Sprint(x.Bytes)))
		}
		t.print(c)
		return nil
	})
}
