package obs

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"time"

	"sallyport/internal/fault"
)

// Line is one line of the readable log.
type Line struct {
	Time    time.Time      `json:"time"`
	Level   string         `json:"level"`
	Message string         `json:"msg"`
	Attrs   map[string]any `json:"attrs,omitempty"`
	Raw     string         `json:"raw,omitempty"` // the text of a line that is no JSON object
}

// ParseLine reads a line; one that is no JSON object is kept as Raw, because a
// log that is half written is when its reader needs it.
func ParseLine(b []byte) Line {
	var m map[string]any
	if err := json.Unmarshal(b, &m); err != nil || m == nil {
		return Line{Raw: string(b)}
	}
	var l Line
	if s, ok := m["time"].(string); ok {
		if t, err := time.Parse(time.RFC3339Nano, s); err == nil {
			l.Time = t.UTC()
			delete(m, "time")
		}
	}
	for key, into := range map[string]*string{"level": &l.Level, "msg": &l.Message} {
		if s, ok := m[key].(string); ok {
			*into = s
			delete(m, key)
		}
	}
	if len(m) > 0 {
		l.Attrs = m
	}
	return l
}

const maxLine = 1 << 20

// Files gives the files of a log that exist, oldest first.
func Files(path string) []string {
	var out []string
	for i := 1; ; i++ {
		name := path + "." + strconv.Itoa(i)
		if _, err := os.Stat(name); err != nil {
			break
		}
		out = append(out, name)
	}
	slices.Reverse(out)
	if _, err := os.Stat(path); err == nil {
		out = append(out, path)
	}
	return out
}

// ReadLog calls each for every line of the log and its rotated files, oldest
// first; an error from each ends it and is returned. A log that does not exist
// has no lines.
func ReadLog(path string, each func(Line) error) error {
	for _, name := range Files(path) {
		if err := readOne(name, each); err != nil {
			return err
		}
	}
	return nil
}

func readOne(name string, each func(Line) error) error {
	f, err := os.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // rotated away meanwhile
	}
	if err != nil {
		return fault.Wrap("obs.read", fault.Unavailable, err)
	}
	defer f.Close() //nolint:errcheck // read only
	r := bufio.NewReaderSize(f, 64<<10)
	for {
		line, err := readLine(r)
		if len(bytes.TrimSpace(line)) > 0 {
			if err := each(ParseLine(bytes.TrimRight(line, "\r\n"))); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fault.Wrap("obs.read", fault.Unavailable, err)
		}
	}
}

// readLine reads up to a newline and drops what exceeds maxLine.
func readLine(r *bufio.Reader) ([]byte, error) {
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		if room := maxLine - len(line); room > 0 {
			line = append(line, part[:min(len(part), room)]...)
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return line, err
		}
	}
}

// Follow calls each for every line that is appended from now on, looking each
// interval, across rotations, until ctx ends; then it gives nil.
func Follow(ctx context.Context, path string, interval time.Duration, each func(Line) error) error {
	t := tail{path: path}
	t.skip()
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if err := t.poll(each); err != nil {
			return err
		}
	}
}

type tail struct {
	path string
	file *os.File
	part []byte // an unfinished line
}

// skip starts at the end of what there is.
func (t *tail) skip() {
	if f, err := os.Open(t.path); err == nil {
		if _, err := f.Seek(0, io.SeekEnd); err == nil {
			t.file = f
			return
		}
		_ = f.Close() // opened for reading
	}
}

func (t *tail) poll(each func(Line) error) error {
	for {
		if t.file != nil {
			if err := t.drain(each); err != nil {
				return err
			}
			if !t.moved() {
				return nil
			}
			_ = t.file.Close() // opened for reading
			t.file = nil
		}
		f, err := os.Open(t.path)
		if err != nil {
			return nil // not there yet, or between two names
		}
		t.file = f
	}
}

// moved reports whether the path names another file by now.
func (t *tail) moved() bool {
	mine, err := t.file.Stat()
	if err != nil {
		return true
	}
	now, err := os.Stat(t.path)
	if err != nil {
		return false
	}
	if os.SameFile(mine, now) {
		if at, err := t.file.Seek(0, io.SeekCurrent); err == nil && now.Size() < at {
			_, err = t.file.Seek(0, io.SeekStart) // truncated in place
			return err != nil
		}
		return false
	}
	return true
}

func (t *tail) drain(each func(Line) error) error {
	for {
		b, err := io.ReadAll(io.LimitReader(t.file, 8*maxLine))
		if err != nil {
			return fault.Wrap("obs.follow", fault.Unavailable, err)
		}
		if len(b) == 0 {
			return nil
		}
		t.part = append(t.part, b...)
		if err := t.lines(each); err != nil {
			return err
		}
	}
}

func (t *tail) lines(each func(Line) error) error {
	for {
		line, rest, ok := bytes.Cut(t.part, []byte("\n"))
		if !ok {
			if len(t.part) > maxLine {
				t.part = nil
			}
			return nil
		}
		t.part = rest
		if len(bytes.TrimSpace(line)) == 0 {
			continue
		}
		if err := each(ParseLine(line)); err != nil {
			return err
		}
	}
}
