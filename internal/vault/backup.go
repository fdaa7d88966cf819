package vault

import (
	"context"
	"io"

	"sallyport/internal/fault"
)

// backupHead begins the plain form of a key backup, which goes on with the
// instance and the root key as length-prefixed fields. The KEKs are not in it:
// they are wrapped in the book, and come back with the backup of its rows.
const backupHead = "sallyport vault root backup 1"

// Backup seals the root key to the recipients, after proving that it is the one
// of this vault.
func (v *Vault) Backup(ctx context.Context, w io.Writer, root Root, to ...Recipient) error {
	st, err := v.ring.current(ctx)
	if err != nil {
		return err
	}
	d, err := root.derive()
	if err != nil {
		return err
	}
	defer d.wipe()
	if d.seal(v.ring.instance, st) != st.Seal {
		return errRoot("vault.backup")
	}
	plain := appendField(make([]byte, 0, 512), backupHead)
	plain = appendField(plain, v.ring.instance)
	root.use(func(k *[keySize]byte) { plain = appendField(plain, k[:]) })
	defer clear(plain)
	return sealTo(w, plain, to)
}

// Restore opens the vault of a book whose rows were restored, with the root key
// of a backup, and at once replaces that key by next and begins a new epoch.
// Anybody can make a file that looks like a backup: a root key that does not
// open the book is fault.Denied, and if rows and key were both planted, nothing
// new is sealed under planted keys. c.Root is not read. next must be kept
// durably before.
func Restore(ctx context.Context, c Config, r io.Reader, identity Identity, next Root) (*Vault, error) {
	const op = "vault.restore"
	plain, err := openFrom(r, identity, maxRootFile)
	if err != nil {
		return nil, err
	}
	defer clear(plain)
	p := fields{rest: plain}
	head, instance, key := p.next(64), p.next(maxID), p.next(keySize)
	if p.bad || len(p.rest) != 0 || string(head) != backupHead || len(key) != keySize {
		return nil, fault.New(op, fault.Corrupt, "the sealed file is no backup of a root key; name the right file")
	}
	if string(instance) != c.Instance {
		return nil, fault.New(op, fault.Denied, "the backup is of the instance %q, and items open in their own instance only; restore the instance's id as well", instance)
	}
	old := rootOf((*[keySize]byte)(key))
	defer old.Wipe()
	c.Root = old
	v, err := Open(ctx, c)
	if err != nil {
		return nil, err
	}
	if err = v.Rekey(ctx, next); err == nil {
		_, err = v.Rotate(ctx)
	}
	if err != nil {
		v.Close()
		return nil, err
	}
	return v, nil
}
