//go:build unix

package store

import (
	"errors"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// turnstile lets processes that share the directory write in turn. A writer
// takes the queue lock, then the write lock, then gives the queue lock back: a
// process that waits in the queue is next, however busy the one that writes is,
// because the busy one must queue again. SQLite's own lock is retried with
// sleeps and would starve the one that waits.
//
// flock is called here and not in sandbox, because it confines nobody: it is
// part of the database's own protocol. The locks vanish with the process.
type turnstile struct{ queue, write *os.File }

func openTurnstile(dir string) (*turnstile, error) {
	q, err := os.OpenFile(filepath.Join(dir, "state.queue"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	w, err := os.OpenFile(filepath.Join(dir, "state.write"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, errors.Join(err, q.Close())
	}
	return &turnstile{q, w}, nil
}

func (t *turnstile) lock() error {
	if err := flock(t.queue, unix.LOCK_EX); err != nil {
		return err
	}
	return errors.Join(flock(t.write, unix.LOCK_EX), flock(t.queue, unix.LOCK_UN))
}

func (t *turnstile) unlock() error { return flock(t.write, unix.LOCK_UN) }

func (t *turnstile) close() error { return errors.Join(t.queue.Close(), t.write.Close()) }

func flock(f *os.File, how int) error {
	for {
		err := unix.Flock(int(f.Fd()), how)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
