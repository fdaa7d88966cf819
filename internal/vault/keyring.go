package vault

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/zalando/go-keyring"

	"sallyport/internal/fault"
)

const (
	keyringLimit   = 30 * time.Second // the keyring's service may have to be started first
	keyringService = "sallyport"
)

const opKeyring = "vault.keyring"

// placeOf gives the service and the user of an entry: "service/user", or a user
// of our own service.
func placeOf(entry string) (service, user string) {
	if service, user, ok := strings.Cut(entry, "/"); ok {
		return service, user
	}
	return keyringService, entry
}

// CreateRootInKeyring makes a root key and stores it in the keyring of the
// desktop under entry, "service/user" or a user of the service "sallyport".
// lookup reads the environment. An
// existing entry is a fault.Conflict and stays as it is; a keyring that does not
// answer is fault.Unavailable.
func CreateRootInKeyring(ctx context.Context, entry string, lookup func(env string) (string, bool)) (Root, error) {
	service, user := placeOf(entry)
	_, err := askKeyring(ctx, entry, lookup, func() (string, error) { return keyring.Get(service, user) })
	if err == nil {
		return Root{}, fault.New(opKeyring, fault.Conflict, "the keyring has an entry %q already, which is never overwritten; choose another name or remove it", entry)
	}
	if !fault.Is(err, fault.NotFound) {
		return Root{}, err
	}
	r := NewRoot()
	text := string(r.text()) // the keyring takes a string, which cannot be wiped
	if _, err := askKeyring(ctx, entry, lookup, func() (string, error) { return "", keyring.Set(service, user, text) }); err != nil {
		r.Wipe()
		return Root{}, err
	}
	// Some keyrings accept and lose.
	back, err := ReadRootFromKeyring(ctx, entry, lookup)
	if err != nil {
		r.Wipe()
		return Root{}, err
	}
	back.Wipe()
	return r, nil
}

// ReadRootFromKeyring reads a root key that CreateRootInKeyring stored; an entry
// that does not exist is fault.NotFound.
func ReadRootFromKeyring(ctx context.Context, entry string, lookup func(env string) (string, bool)) (Root, error) {
	service, user := placeOf(entry)
	text, err := askKeyring(ctx, entry, lookup, func() (string, error) { return keyring.Get(service, user) })
	if err != nil {
		return Root{}, err
	}
	r, err := parseRoot([]byte(text))
	if err != nil {
		return Root{}, &fault.Error{Op: opKeyring, Kind: fault.Config, Err: err, Public: "the keyring's entry holds no whole root key; name the right entry, or restore the key from its backup"}
	}
	return r, nil
}

// askKeyring puts one question to the keyring. The call cannot be interrupted;
// when the time is over its goroutine is left to end with the service's answer.
func askKeyring(ctx context.Context, entry string, lookup func(string) (string, bool), ask func() (string, error)) (string, error) {
	if service, user := placeOf(entry); !validID(service) || !validID(user) {
		return "", fault.New(opKeyring, fault.Config, "the keyring's entry has no proper name; give one")
	}
	if err := keyringReachable(lookup); err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, keyringLimit)
	defer cancel()
	type answer struct {
		text string
		err  error
	}
	answers := make(chan answer, 1)
	go func() {
		text, err := ask()
		answers <- answer{text, err}
	}()
	select {
	case a := <-answers:
		switch {
		case errors.Is(a.err, keyring.ErrNotFound):
			return "", fault.New(opKeyring, fault.NotFound, "the keyring has no entry %q, and a root key is never made anew: items need the old one; put it back, or restore a backup", entry)
		case a.err != nil:
			return "", &fault.Error{Op: opKeyring, Kind: fault.Unavailable, Err: a.err, Public: "the keyring did not answer; unlock it, or use a passphrase or a key file"}
		}
		return a.text, nil
	case <-ctx.Done():
		return "", &fault.Error{Op: opKeyring, Kind: fault.Unavailable, Err: ctx.Err(), Public: "the keyring did not answer in time; unlock it, or use a passphrase or a key file"}
	}
}
