package vault

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"strings"

	"filippo.io/age"

	"sallyport/internal/fault"
)

// Recipient is whom an export or a backup is sealed to: the public half of an
// age key, or a passphrase.
type Recipient struct{ to age.Recipient }

// ParseRecipient reads an age recipient: "age1pq1…" (ML-KEM-768 with X25519, the
// form to use for what leaves the machine) or "age1…" (X25519). All recipients
// of one sealing are of one form.
func ParseRecipient(s string) (Recipient, error) {
	var to age.Recipient
	var err error
	if strings.HasPrefix(s, "age1pq1") {
		to, err = age.ParseHybridRecipient(s)
	} else {
		to, err = age.ParseX25519Recipient(s)
	}
	if err != nil {
		return Recipient{}, fault.New("vault.recipient", fault.Usage, "that is no age recipient (age1pq1… or age1…); give the public half of a key that age-keygen made")
	}
	return Recipient{to}, nil
}

// Identity opens what was sealed to its recipient. Nothing prints it but Text.
type Identity struct {
	use func() (from age.Identity, text string)
}

// NewIdentity makes a post-quantum identity and its recipient's text.
func NewIdentity() (Identity, string, error) {
	id, err := age.GenerateHybridIdentity()
	if err != nil {
		return Identity{}, "", fault.Wrap("vault.identity", fault.Internal, err)
	}
	return Identity{func() (age.Identity, string) { return id, id.String() }}, id.Recipient().String(), nil
}

// ParseIdentity reads the text of an age identity, as age-keygen writes it:
// comments and empty lines, and one line with the secret.
func ParseIdentity(text []byte) (Identity, error) {
	ids, err := age.ParseIdentities(bytes.NewReader(text))
	if err != nil || len(ids) != 1 {
		// The cause may quote the secret line: it is dropped.
		return Identity{}, fault.New("vault.identity", fault.Usage, "that is not one age identity (AGE-SECRET-KEY-…); give the file that age-keygen made")
	}
	var secret string
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(line); strings.HasPrefix(line, "AGE-SECRET-KEY-") {
			secret = line
		}
	}
	return Identity{func() (age.Identity, string) { return ids[0], secret }}, nil
}

// Text gives the secret form, to be written to a file with mode 0600; the zero
// Identity gives the empty string.
func (i Identity) Text() string {
	if i.use == nil {
		return ""
	}
	_, text := i.use()
	return text
}

const redactedIdentity = "[identity]"

// String gives "[identity]".
func (Identity) String() string { return redactedIdentity }

// Format writes "[identity]" whatever the verb is.
func (Identity) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redactedIdentity) }

// MarshalText gives "[identity]".
func (Identity) MarshalText() ([]byte, error) { return []byte(redactedIdentity), nil }

// LogValue gives "[identity]".
func (Identity) LogValue() slog.Value { return slog.StringValue(redactedIdentity) }

// PassphraseRecipient seals to whoever knows a passphrase of at least
// MinPassphrase bytes (scrypt, as age does it). It is the only recipient of a
// sealing.
func PassphraseRecipient(passphrase []byte) (Recipient, error) {
	if err := checkSealing(passphrase); err != nil {
		return Recipient{}, err
	}
	to, err := age.NewScryptRecipient(string(passphrase))
	return Recipient{to}, fault.Wrap("vault.recipient", fault.Internal, err)
}

// PassphraseIdentity opens what was sealed to a passphrase; it has no Text.
func PassphraseIdentity(passphrase []byte) (Identity, error) {
	if err := checkSealing(passphrase); err != nil {
		return Identity{}, err
	}
	id, err := age.NewScryptIdentity(string(passphrase))
	if err != nil {
		return Identity{}, fault.Wrap("vault.identity", fault.Internal, err)
	}
	return Identity{func() (age.Identity, string) { return id, "" }}, nil
}

func checkSealing(passphrase []byte) error {
	if len(passphrase) < MinPassphrase {
		return fault.New("vault.passphrase", fault.Usage, "the passphrase has %d bytes and needs at least %d; choose a longer one", len(passphrase), MinPassphrase)
	}
	return nil
}

// Seal gives a writer: what is written to it reaches w sealed to the recipients,
// whole once it was closed.
func Seal(w io.Writer, to ...Recipient) (io.WriteCloser, error) {
	const op = "vault.seal_to"
	if len(to) == 0 {
		return nil, fault.New(op, fault.Usage, "there is nobody to seal to; name at least one recipient")
	}
	all := make([]age.Recipient, 0, len(to))
	for _, r := range to {
		if r.to == nil {
			return nil, fault.New(op, fault.Usage, "a recipient is empty; read it with ParseRecipient")
		}
		all = append(all, r.to)
	}
	out, err := age.Encrypt(w, all...)
	if err != nil {
		return nil, &fault.Error{Op: op, Kind: fault.Usage, Err: err, Public: "it cannot be sealed to these recipients together; use one form of recipient (age1pq1… or age1…)"}
	}
	return out, nil
}

// OpenSealed gives a reader of what Seal wrote. Each piece it gives was
// verified; only its end says that nothing is missing.
func OpenSealed(r io.Reader, id Identity) (io.Reader, error) {
	const op = "vault.open_sealed"
	if id.use == nil {
		return nil, fault.New(op, fault.Usage, "there is no identity to open it with; name one")
	}
	from, _ := id.use()
	in, err := age.Decrypt(r, from)
	if err != nil {
		return nil, &fault.Error{Op: op, Kind: fault.Denied, Err: err, Public: "this identity does not open the file: it was sealed to somebody else, or was altered; give the right identity"}
	}
	return in, nil
}

// sealTo writes plain to w, sealed to the recipients.
func sealTo(w io.Writer, plain []byte, to []Recipient) error {
	const op = "vault.seal_to"
	out, err := Seal(w, to...)
	if err != nil {
		return err
	}
	if _, err := out.Write(plain); err != nil {
		return fault.Wrap(op, fault.Unavailable, err)
	}
	return fault.Wrap(op, fault.Unavailable, out.Close())
}

// openFrom reads what sealTo wrote, at most limit bytes of it; nothing is given
// before the last byte is verified. The caller wipes what it gets.
func openFrom(r io.Reader, id Identity, limit int64) ([]byte, error) {
	const op = "vault.open_sealed"
	in, err := OpenSealed(r, id)
	if err != nil {
		return nil, err
	}
	plain, err := io.ReadAll(io.LimitReader(in, limit+1))
	if err != nil {
		clear(plain)
		return nil, &fault.Error{Op: op, Kind: fault.Corrupt, Err: err, Public: "the sealed file is cut short or altered; fetch it again"}
	}
	if int64(len(plain)) > limit {
		clear(plain)
		return nil, fault.New(op, fault.Usage, "the sealed file holds more than %d MiB; split it", limit>>20)
	}
	return plain, nil
}
