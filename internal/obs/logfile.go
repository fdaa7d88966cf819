package obs

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"sallyport/internal/fault"
)

// LogOptions describe the readable log. Path is required.
type LogOptions struct {
	Path     string     // the file; its directory is made with mode 0700
	MaxBytes int64      // size at which it is rotated; 0: 10 MiB; negative: never
	Backups  int        // rotated files kept as Path.1 (newest) to Path.N; 0: none
	Level    slog.Level // least level written
	Text     bool       // key=value lines instead of JSON
}

const defaultMaxBytes = 10 << 20

// LogFile is a rotated file for log lines. Several goroutines may write to it,
// and several processes may share one path: whoever finds that the path names
// another file than the one it has open continues in that one.
type LogFile struct {
	opt  LogOptions
	mu   sync.Mutex
	file *os.File
	size int64
}

// OpenLog opens or creates the file for appending.
func OpenLog(o LogOptions) (*LogFile, error) {
	switch {
	case o.MaxBytes == 0:
		o.MaxBytes = defaultMaxBytes
	case o.MaxBytes < 0:
		o.MaxBytes = math.MaxInt64
	}
	l := &LogFile{opt: o}
	if err := os.MkdirAll(filepath.Dir(o.Path), 0o700); err != nil {
		return nil, fault.Wrap("obs.open", fault.Unavailable, err)
	}
	if err := l.open(); err != nil {
		return nil, &fault.Error{
			Op: "obs.open", Kind: fault.Unavailable, Err: err,
			Public: "the readable log cannot be written; check logging.file and the free space of its disk",
		}
	}
	return l, nil
}

// open opens the path. O_NOFOLLOW, so that nobody turns the log into a way to
// append to another file of its owner.
func (l *LogFile) open() error {
	f, err := os.OpenFile(l.opt.Path, os.O_CREATE|os.O_WRONLY|os.O_APPEND|noFollow, 0o600)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a regular file", l.opt.Path)
	}
	if err == nil && info.Mode().Perm()&0o077 != 0 {
		err = f.Chmod(0o600)
	}
	if err != nil {
		return errors.Join(err, f.Close())
	}
	l.file, l.size = f, info.Size()
	return nil
}

// Write appends p, which must be one whole line, rotating first when the file
// would grow beyond its bound. A line longer than the bound is still written.
func (l *LogFile) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil {
		return 0, fs.ErrClosed
	}
	if err := l.follow(); err != nil {
		return 0, err
	}
	if l.size > 0 && l.size > l.opt.MaxBytes-int64(len(p)) {
		if err := l.rotate(); err != nil {
			return 0, err
		}
	}
	n, err := l.file.Write(p)
	l.size += int64(n)
	return n, err
}

// follow reopens the path when another process rotated it away, and learns how
// much others have written.
func (l *LogFile) follow() error {
	mine, err := l.file.Stat()
	if err != nil {
		return err
	}
	now, err := os.Lstat(l.opt.Path)
	if err == nil && os.SameFile(mine, now) {
		l.size = now.Size()
		return nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	old := l.file
	if err := l.open(); err != nil {
		return err
	}
	return old.Close()
}

// rotate shifts the backups and starts a new file. Two processes that rotate
// at the same moment may drop one backup, never a line of the open file.
func (l *LogFile) rotate() error {
	if l.opt.Backups <= 0 {
		if err := l.file.Truncate(0); err != nil {
			return err
		}
		l.size = 0
		return nil
	}
	for i := l.opt.Backups - 1; i >= 1; i-- {
		err := os.Rename(l.backup(i), l.backup(i+1))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if err := os.Rename(l.opt.Path, l.backup(1)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	old := l.file
	if err := l.open(); err != nil {
		return err
	}
	return old.Close()
}

func (l *LogFile) backup(i int) string { return l.opt.Path + "." + strconv.Itoa(i) }

// Close closes the file; later writes fail.
func (l *LogFile) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil {
		return nil
	}
	err := l.file.Close()
	l.file = nil
	return err
}

// Logger gives a logger that writes JSON lines with UTC times.
func (l *LogFile) Logger() *slog.Logger {
	o := &slog.HandlerOptions{Level: l.opt.Level, ReplaceAttr: utc}
	if l.opt.Text {
		return slog.New(slog.NewTextHandler(l, o))
	}
	return slog.New(slog.NewJSONHandler(l, o))
}

func utc(groups []string, a slog.Attr) slog.Attr {
	if len(groups) == 0 && a.Key == slog.TimeKey && a.Value.Kind() == slog.KindTime {
		a.Value = slog.TimeValue(a.Value.Time().UTC().Truncate(time.Millisecond))
	}
	return a
}

// ParseLevel reads debug, info, warning (or warn) and error in any case.
func ParseLevel(s string) (slog.Level, error) {
	switch strings.ToLower(s) {
	case "debug":
		return slog.LevelDebug, nil
	case "", "info":
		return slog.LevelInfo, nil
	case "warning", "warn":
		return slog.LevelWarn, nil
	case "error":
		return slog.LevelError, nil
	}
	return 0, fault.New("obs.level", fault.Config, "%q is no log level; write debug, info, warning or error", s)
}
