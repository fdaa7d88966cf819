package app

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"sallyport/internal/fault"
)

// passphraseVar names the variable that holds the number of a file descriptor,
// never the passphrase: an environment is read by every process of the user.
const passphraseVar = "SALLYPORT_VAULT_PASSPHRASE_FD"

// backupPassVar does the same for the passphrase of a backup.
const backupPassVar = "SALLYPORT_BACKUP_PASSPHRASE_FD"

// maxPassphrase bounds what is read as a passphrase, in bytes.
const maxPassphrase = 1 << 10

// unlocker asks for a passphrase: at the descriptor that a variable names, else
// at the terminal.
type unlocker struct {
	from string // the variable
	mu   sync.Mutex
	fd   int // -1 for none
	err  error
	used bool
}

// newUnlocker looks for the descriptor and keeps it from the programs that this
// process starts.
func newUnlocker(from string, lookup func(string) (string, bool)) *unlocker {
	u := &unlocker{from: from, fd: -1}
	text, ok := lookup(from)
	if !ok || text == "" {
		return u
	}
	fd, err := strconv.Atoi(text)
	var st unix.Stat_t
	if err == nil && fd >= 3 && fd <= 1<<20 {
		err = unix.Fstat(fd, &st)
	}
	switch st.Mode & unix.S_IFMT { // anything else is a descriptor of ours that happens to have the number
	case unix.S_IFIFO, unix.S_IFREG, unix.S_IFCHR, unix.S_IFSOCK:
		unix.CloseOnExec(fd)
		u.fd = fd
	default:
		u.err = &fault.Error{Op: "app.passphrase", Kind: fault.Usage, Err: err, Public: fmt.Sprintf(
			"%s is %q, which is no open file descriptor of 3 or more to read the passphrase from; pass one, as in %s=3 3<FILE", from, text, from)}
	}
	return u
}

// passphrase gives the passphrase; the caller wipes it. At the terminal a new
// one is asked for twice.
func (u *unlocker) passphrase(ctx context.Context, prompt string, fresh bool) ([]byte, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	switch {
	case u.err != nil:
		return nil, u.err
	case u.fd >= 0 && u.used:
		return nil, fault.New("app.passphrase", fault.Usage, "the passphrase was read from descriptor %d already; a process reads it once", u.fd)
	case u.fd >= 0:
		u.used = true
		return readPassphrase(u.fd)
	}
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		return nil, &fault.Error{
			Op: "app.passphrase", Kind: fault.Unavailable, Err: err,
			Public: "a passphrase is needed and there is no terminal to ask at; give it on a file descriptor named by " + u.from,
		}
	}
	defer tty.Close() //nolint:errcheck // nothing depends on it
	first, err := typed(ctx, tty, prompt)
	if err != nil || !fresh {
		return first, err
	}
	again, err := typed(ctx, tty, "Once more: ")
	defer clear(again)
	if err == nil && !bytes.Equal(first, again) {
		err = fault.New("app.passphrase", fault.Usage, "the two passphrases differ, so none was set; try again")
	}
	if err != nil {
		clear(first)
		return nil, err
	}
	return first, nil
}

// readPassphrase reads one line from a descriptor and closes it.
func readPassphrase(fd int) ([]byte, error) {
	f := os.NewFile(uintptr(fd), "passphrase")
	defer f.Close() //nolint:errcheck // read only
	b := make([]byte, maxPassphrase+1)
	n, err := io.ReadFull(f, b)
	if err == nil || !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		clear(b)
		return nil, &fault.Error{Op: "app.passphrase", Kind: fault.Usage, Err: err, Public: fmt.Sprintf(
			"descriptor %d does not hold a passphrase of at most %d bytes; write it there and close it", fd, maxPassphrase)}
	}
	line, _, _ := bytes.Cut(b[:n], []byte{'\n'})
	return bytes.TrimSuffix(line, []byte{'\r'}), nil
}

// typed reads a line without showing it. An interrupt gives the terminal back
// as it was.
func typed(ctx context.Context, tty *os.File, prompt string) ([]byte, error) {
	fd := int(tty.Fd())
	before, err := term.GetState(fd)
	if err != nil {
		return nil, fault.Wrap("app.passphrase", fault.Unavailable, err)
	}
	if _, err := io.WriteString(tty, prompt); err != nil {
		return nil, fault.Wrap("app.passphrase", fault.Unavailable, err)
	}
	type line struct {
		text []byte
		err  error
	}
	got := make(chan line, 1)
	go func() {
		text, err := term.ReadPassword(fd)
		got <- line{text, err}
	}()
	select {
	case l := <-got:
		_, _ = io.WriteString(tty, "\n")
		return l.text, fault.Wrap("app.passphrase", fault.Unavailable, l.err)
	case <-ctx.Done():
		_, _ = io.WriteString(tty, "\n")
		return nil, fault.Wrap("app.passphrase", fault.Canceled, errors.Join(context.Cause(ctx), term.Restore(fd, before)))
	}
}
