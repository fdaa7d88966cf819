package credential

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/zalando/go-keyring"

	"sallyport/internal/fault"
)

const (
	maxSecret    = 64 << 10         // bytes; a larger file is not a credential
	commandLimit = 10 * time.Second // a password manager that asks takes longer and must be unlocked before
	keyringLimit = 30 * time.Second // the keyring's service may have to be started first
)

// Source says where a secret is read from. Exactly one field is set.
type Source struct {
	Env     string   // a variable of the supervisor's environment
	File    string   // a regular file nobody but its owner can read
	Keyring string   // "service/user" in the desktop's keyring
	Command []string // a program and its arguments, run without a shell; it prints the secret
}

const opRead = "credential.read"

// Read gives the secret without one trailing newline. lookup reads the
// supervisor's environment. No error tells anything of what was read. A source
// that is misconfigured is fault.Config, an entry that does not exist
// fault.NotFound, a service that does not answer fault.Unavailable.
func (s Source) Read(ctx context.Context, lookup func(env string) (string, bool)) (Value, error) {
	set := 0
	for _, is := range []bool{s.Env != "", s.File != "", s.Keyring != "", len(s.Command) > 0} {
		if is {
			set++
		}
	}
	if set != 1 {
		return Value{}, fault.New(opRead, fault.Config,
			"a secret comes from exactly one of env, file, keyring and command, and %d are given; keep one", set)
	}
	var b []byte
	var err error
	switch {
	case s.Env != "":
		b, err = readEnv(s.Env, lookup)
	case s.File != "":
		b, err = readFile(s.File)
	case s.Keyring != "":
		b, err = readKeyring(ctx, s.Keyring, lookup)
	default:
		b, err = readCommand(ctx, s.Command, lookup)
	}
	if err != nil {
		return Value{}, err
	}
	if n := len(b); n > 0 && b[n-1] == '\n' {
		if b = b[:n-1]; n > 1 && b[n-2] == '\r' {
			b = b[:n-2]
		}
	}
	if len(b) == 0 {
		return Value{}, fault.New(opRead, fault.Config, "the secret from %s is empty; store a value there", s)
	}
	return newValue(b), nil
}

// String names the source; of a command it names the program only, since
// arguments may be telling.
func (s Source) String() string {
	switch {
	case s.Env != "":
		return "env " + s.Env
	case s.File != "":
		return "file " + s.File
	case s.Keyring != "":
		return "keyring " + s.Keyring
	case len(s.Command) > 0:
		return "command " + s.Command[0]
	}
	return "nowhere"
}

func readEnv(name string, lookup func(string) (string, bool)) ([]byte, error) {
	v, ok := lookup(name)
	if !ok {
		return nil, fault.New(opRead, fault.NotFound, "the variable %s is not set; export it before the start", name)
	}
	if len(v) > maxSecret {
		return nil, tooLong("the variable " + name)
	}
	return []byte(v), nil
}

func tooLong(what string) error {
	return fault.New(opRead, fault.Config, "%s gives more than %d KiB, which is no credential; name the right one", what, maxSecret>>10)
}

func readFile(name string) ([]byte, error) {
	// Without O_NONBLOCK the open of a pipe would wait for a writer. What is
	// checked is the descriptor that is read, so a link may lead to it.
	f, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		kind := fault.Config
		if errors.Is(err, os.ErrNotExist) {
			kind = fault.NotFound
		}
		return nil, &fault.Error{Op: opRead, Kind: kind, Public: fmt.Sprintf(
			"the secret's file %s cannot be opened; create it with mode 0600 or correct the path", name), Err: err}
	}
	defer func() { _ = f.Close() }() // nothing was written
	info, err := f.Stat()
	if err != nil {
		return nil, fault.Wrap(opRead, fault.Internal, err)
	}
	if !info.Mode().IsRegular() {
		return nil, fault.New(opRead, fault.Config, "the secret's file %s is no regular file (%s); name a regular file", name, info.Mode().Type())
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fault.New(opRead, fault.Config,
			"the secret's file %s has mode %04o, so others can read it; run: chmod 600 %s", name, info.Mode().Perm(), name)
	}
	b, err := io.ReadAll(io.LimitReader(f, maxSecret+1))
	if err != nil {
		return nil, &fault.Error{Op: opRead, Kind: fault.Unavailable, Public: fmt.Sprintf(
			"the secret's file %s cannot be read; check the disk it is on", name), Err: err}
	}
	if len(b) > maxSecret {
		return nil, tooLong("the file " + name)
	}
	return b, nil
}

// readKeyring asks the desktop's keyring. The call cannot be interrupted; when
// the time is over its goroutine is left to end with the service's answer.
func readKeyring(ctx context.Context, entry string, lookup func(string) (string, bool)) ([]byte, error) {
	at := strings.LastIndexByte(entry, '/')
	if at <= 0 || at == len(entry)-1 {
		return nil, fault.New(opRead, fault.Config, "the keyring entry %q is not of the form service/user; write both", entry)
	}
	if err := keyringReachable(lookup); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, keyringLimit)
	defer cancel()
	type answer struct {
		secret string
		err    error
	}
	answers := make(chan answer, 1)
	go func() {
		secret, err := keyring.Get(entry[:at], entry[at+1:])
		answers <- answer{secret, err}
	}()
	select {
	case a := <-answers:
		switch {
		case errors.Is(a.err, keyring.ErrNotFound):
			return nil, fault.New(opRead, fault.NotFound,
				"the keyring has no entry %s; store one with: secret-tool store --label=%s service %s username %s", entry, entry[:at], entry[:at], entry[at+1:])
		case a.err != nil:
			return nil, &fault.Error{Op: opRead, Kind: fault.Unavailable, Public: fmt.Sprintf(
				"the keyring did not give %s; unlock it, or use file or command instead", entry), Err: a.err}
		case len(a.secret) > maxSecret:
			return nil, tooLong("the keyring entry " + entry)
		}
		return []byte(a.secret), nil
	case <-ctx.Done():
		return nil, fault.New(opRead, fault.Unavailable,
			"the keyring did not answer for %s in time; unlock it, or use file or command instead", entry)
	}
}
