package app

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"sallyport/internal/approval"
	"sallyport/internal/fault"
)

// Signing says with which key a person signs. The zero Signing takes the key of
// this state directory, keys/owner.
type Signing struct {
	// Key is a private key in OpenSSH's format, or a public one whose private
	// half is in ssh-agent.
	Key string
	// Agent takes the key that ssh-agent and the trust file have in common.
	Agent bool
	// Passphrase asks the person for the passphrase of the key; nil where nobody
	// can be asked.
	Passphrase func(prompt string) ([]byte, error)
}

func (s Signing) named() bool { return s.Key != "" || s.Agent }

const maxKeyFile = 64 << 10

// signerOf gives the key to sign with. done ends the use of it.
func (a *App) signerOf(ctx context.Context, src *trustSource, by Signing) (signer ssh.Signer, done func(), err error) {
	switch {
	case by.Key != "" && by.Agent:
		return nil, nil, fault.New("app.sign", fault.Usage, "name a key, or let ssh-agent have it; with a public key file, ssh-agent is asked for its private half anyway")
	case by.Key != "":
		return a.signerFromFile(ctx, by)
	case by.Agent:
		r, err := src.roster(ctx)
		if err != nil {
			return nil, nil, err
		}
		return a.signerFromAgent(ctx, func(keys []*agent.Key) (ssh.PublicKey, error) { return knownKey(r, keys) })
	}
	signer, err = approval.LoadOrCreateOwner(a.Paths.Keys)
	return signer, func() {}, err
}

func (a *App) signerFromFile(ctx context.Context, by Signing) (ssh.Signer, func(), error) {
	const op = "app.sign"
	b, open, err := readKey(by.Key)
	if err != nil {
		return nil, nil, err
	}
	if pub, _, _, _, err := ssh.ParseAuthorizedKey(b); err == nil {
		return a.signerFromAgent(ctx, func(keys []*agent.Key) (ssh.PublicKey, error) { return sameKey(pub, keys) })
	}
	if open {
		return nil, nil, fault.New(op, fault.Config, "the private key %s is open to others; run chmod 600 on it", by.Key)
	}
	signer, err := ssh.ParsePrivateKey(b)
	if _, locked := errors.AsType[*ssh.PassphraseMissingError](err); locked {
		if by.Passphrase == nil {
			return nil, nil, fault.New(op, fault.Usage, "the key %s has a passphrase and nobody is at a terminal to give it; use ssh-agent", by.Key)
		}
		pass, err := by.Passphrase("Passphrase of " + by.Key + ": ")
		if err != nil {
			return nil, nil, err
		}
		defer clear(pass)
		if signer, err = ssh.ParsePrivateKeyWithPassphrase(b, pass); err != nil {
			return nil, nil, &fault.Error{Op: op, Kind: fault.Denied, Public: "the passphrase does not open " + by.Key, Err: err}
		}
		return signer, func() {}, nil
	}
	if err != nil {
		return nil, nil, &fault.Error{
			Op: op, Kind: fault.Usage, Err: err,
			Public: by.Key + " is no SSH key that can be used here; a hardware key signs through ssh-agent (name its .pub file) or with ssh-keygen -Y sign and --export",
		}
	}
	return signer, func() {}, nil
}

// readKey reads a key file; open says that others can read it too.
func readKey(path string) (b []byte, open bool, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, false, &fault.Error{Op: "app.sign", Kind: fault.NotFound, Public: "the key " + path + " cannot be read", Err: err}
	}
	defer f.Close() //nolint:errcheck // read only
	info, err := f.Stat()
	if err != nil {
		return nil, false, fault.Wrap("app.sign", fault.Unavailable, err)
	}
	b, err = io.ReadAll(io.LimitReader(f, maxKeyFile))
	return b, info.Mode().Perm()&0o077 != 0, fault.Wrap("app.sign", fault.Unavailable, err)
}

// publicKeys reads the keys of authorized_keys files, such as id_ed25519.pub.
func publicKeys(files ...string) ([]ssh.PublicKey, error) {
	var out []ssh.PublicKey
	for _, path := range files {
		rest, _, err := readKey(path)
		if err != nil {
			return nil, err
		}
		n := len(out)
		for len(bytes.TrimSpace(rest)) > 0 {
			k, _, _, more, err := ssh.ParseAuthorizedKey(rest)
			if err != nil {
				break
			}
			out, rest = append(out, k), more
		}
		if len(out) == n {
			return nil, fault.New("app.sign", fault.Usage, "%s holds no public SSH key; name the .pub file", path)
		}
	}
	return out, nil
}

// signerFromAgent connects to ssh-agent and takes the key that choose picks.
func (a *App) signerFromAgent(ctx context.Context, choose func([]*agent.Key) (ssh.PublicKey, error)) (ssh.Signer, func(), error) {
	const op = "app.agent"
	path, _ := a.Env.Lookup("SSH_AUTH_SOCK")
	if path == "" {
		return nil, nil, fault.New(op, fault.Unavailable, "ssh-agent does not run: SSH_AUTH_SOCK is not set; start it and add the key with ssh-add")
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", path) //nolint:forbidigo // a person's own ssh-agent, on this machine
	if err != nil {
		return nil, nil, &fault.Error{Op: op, Kind: fault.Unavailable, Public: "ssh-agent does not answer at SSH_AUTH_SOCK", Err: err}
	}
	done := func() { _ = conn.Close() } // nothing was written that could be lost
	stop := context.AfterFunc(ctx, done)
	client := agent.NewClient(conn)
	signer, err := pick(client, choose)
	if err != nil {
		stop()
		done()
		return nil, nil, err
	}
	return signer, func() { stop(); done() }, nil
}

func pick(client agent.ExtendedAgent, choose func([]*agent.Key) (ssh.PublicKey, error)) (ssh.Signer, error) {
	const op = "app.agent"
	keys, err := client.List()
	if err != nil {
		return nil, &fault.Error{Op: op, Kind: fault.Unavailable, Public: "ssh-agent does not list its keys", Err: err}
	}
	want, err := choose(keys)
	if err != nil {
		return nil, err
	}
	signers, err := client.Signers()
	if err != nil {
		return nil, fault.Wrap(op, fault.Unavailable, err)
	}
	for _, s := range signers {
		if bytes.Equal(s.PublicKey().Marshal(), want.Marshal()) {
			return s, nil
		}
	}
	return nil, fault.New(op, fault.NotFound, "ssh-agent does not hold key %s any more", ssh.FingerprintSHA256(want))
}

func sameKey(pub ssh.PublicKey, keys []*agent.Key) (ssh.PublicKey, error) {
	for _, k := range keys {
		if bytes.Equal(k.Blob, pub.Marshal()) {
			return pub, nil
		}
	}
	return nil, fault.New("app.agent", fault.NotFound, "ssh-agent does not hold key %s; add it with ssh-add", ssh.FingerprintSHA256(pub))
}

// knownKey picks the key of the one person in the trust file whose keys the
// agent holds.
func knownKey(r *approval.Roster, keys []*agent.Key) (ssh.PublicKey, error) {
	var found ssh.PublicKey
	who := ""
	for _, k := range keys {
		pub, err := ssh.ParsePublicKey(k.Blob)
		if err != nil {
			continue // of a kind that signs nothing here
		}
		p, ok := r.Holder(pub)
		switch {
		case !ok:
		case who != "" && p.Name != who:
			return nil, fault.New("app.agent", fault.Usage, "ssh-agent holds keys of %s and of %s; say whose signs with --key FILE.pub", who, p.Name)
		case found == nil:
			found, who = pub, p.Name
		}
	}
	if found == nil {
		return nil, fault.New("app.agent", fault.NotFound, "none of the %s in ssh-agent belongs to a person of the trust file; `sallyport trust show` lists theirs", plural(len(keys), "key"))
	}
	return found, nil
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
