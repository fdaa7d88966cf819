package vault

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"
	"time"

	"golang.org/x/crypto/argon2"

	"sallyport/internal/fault"
)

// Cost is what one guess of a passphrase costs: the parameters of Argon2id. They
// are stored beside the key they seal.
type Cost struct {
	Memory uint32 // KiB, 64 MiB to 1 GiB
	Time   uint32 // passes, 3 to 64
	Lanes  uint8  // 1 to 16
}

// Floor is the least cost: the second recommendation of RFC 9106. A sealed key
// that names less is refused, so nobody is led to derive a cheaper one.
var Floor = Cost{Memory: 64 << 10, Time: 3, Lanes: 4}

// ceiling keeps a damaged file from costing the machine's memory or a day.
var ceiling = Cost{Memory: 1 << 20, Time: 64, Lanes: 16}

// MinPassphrase is the shortest passphrase, in bytes.
const MinPassphrase = 12

// saltSize is in bytes, as RFC 9106 recommends.
const saltSize = 16

// Calibrate gives the cost at which one derivation takes at least target on this
// machine: the floor, with more passes if it is faster than that. It takes about
// as long as target.
func Calibrate(target time.Duration) Cost {
	return calibrate(target, func(c Cost) time.Duration {
		start := time.Now()
		clear(c.derive([]byte("calibration"), make([]byte, saltSize)))
		return time.Since(start)
	})
}

func calibrate(target time.Duration, measure func(Cost) time.Duration) Cost {
	c := Floor
	each := max(measure(c)/time.Duration(c.Time), 1)
	need := min((target+each-1)/each, time.Duration(ceiling.Time))
	c.Time = max(c.Time, uint32(need)) //nolint:gosec // G115: at most ceiling.Time
	return c
}

func (c Cost) check() error {
	if c.Memory < Floor.Memory || c.Time < Floor.Time || c.Lanes < 1 {
		return fmt.Errorf("the cost of its passphrase (%s) is below the floor (%s)", c, Floor)
	}
	if c.Memory > ceiling.Memory || c.Time > ceiling.Time || c.Lanes > ceiling.Lanes {
		return fmt.Errorf("the cost of its passphrase (%s) is above the ceiling (%s)", c, ceiling)
	}
	return nil
}

// String renders the cost as it is stored: "m=65536 t=3 p=4".
func (c Cost) String() string { return fmt.Sprintf("m=%d t=%d p=%d", c.Memory, c.Time, c.Lanes) }

func (c Cost) derive(passphrase, salt []byte) []byte {
	return argon2.IDKey(passphrase, salt, c.Time, c.Memory, c.Lanes, keySize)
}

// A sealed root key is one line of ASCII, everything before the box being its
// associated data:
//
//	sallyport-root-1 argon2id m=65536 t=3 p=4 SALT BOX
//
// SALT is 16 bytes, BOX nonce 24 │ root key 32 + tag 16, both base64 for URLs
// without padding.
const sealedText = "sallyport-root-1 argon2id "

// SealRoot seals a root key with a passphrase of at least MinPassphrase bytes.
func SealRoot(r Root, passphrase []byte, c Cost) ([]byte, error) {
	const op = "vault.seal_root"
	if r.use == nil {
		return nil, fault.New(op, fault.Usage, "there is no root key to seal; make one first")
	}
	if len(passphrase) < MinPassphrase {
		return nil, fault.New(op, fault.Usage, "a passphrase of %d bytes is guessed in time; use at least %d", len(passphrase), MinPassphrase)
	}
	if err := c.check(); err != nil {
		return nil, &fault.Error{Op: op, Kind: fault.Config, Err: err, Public: "the cost of a passphrase must lie between the floor and the ceiling; let it be calibrated"}
	}
	var random [saltSize + nonceSize]byte
	rand.Read(random[:]) // never fails
	return sealRoot(r, passphrase, c, random[:saltSize], random[saltSize:])
}

func sealRoot(r Root, passphrase []byte, c Cost, salt, nonce []byte) ([]byte, error) {
	key := c.derive(passphrase, salt)
	defer clear(key)
	aead, err := newAEAD(key)
	if err != nil {
		return nil, err
	}
	defer wipeAEAD(aead)
	head := sealedText + c.String() + " " + base64.RawURLEncoding.EncodeToString(salt) + " "
	box := append(make([]byte, 0, nonceSize+keySize+tagSize), nonce...)
	r.use(func(k *[keySize]byte) {
		box = aead.Seal(box, nonce, k[:], appendField(appendField(nil, purposeRoot), head))
	})
	return append(base64.RawURLEncoding.AppendEncode([]byte(head), box), '\n'), nil
}

// OpenRoot opens a sealed root key. A wrong passphrase and an altered seal are
// both fault.Denied, since nobody can tell them apart; what is no sealed root
// key, or names a cost out of range, is fault.Config.
func OpenRoot(sealed, passphrase []byte) (Root, error) {
	const op = "vault.open_root"
	c, head, salt, box, err := parseSealed(sealed)
	if err == nil {
		err = c.check()
	}
	if err != nil {
		return Root{}, &fault.Error{Op: op, Kind: fault.Config, Err: err, Public: "that is no sealed root key with a cost in range; restore the file from its backup"}
	}
	derivedKey := c.derive(passphrase, salt)
	defer clear(derivedKey)
	aead, err := newAEAD(derivedKey)
	if err != nil {
		return Root{}, err
	}
	defer wipeAEAD(aead)
	var key [keySize]byte
	if _, err := aead.Open(key[:0], box[:nonceSize], box[nonceSize:], appendField(appendField(nil, purposeRoot), head)); err != nil {
		return Root{}, fault.New(op, fault.Denied, "the passphrase does not open the root key, or the sealed key was altered; try again, or restore it from its backup")
	}
	return rootOf(&key), nil
}

// parseSealed reads the one way a sealed root key is written.
func parseSealed(sealed []byte) (c Cost, head string, salt, box []byte, err error) {
	damaged := fmt.Errorf("it is not written as a sealed root key")
	if len(sealed) > maxRootFile {
		return c, "", nil, nil, damaged
	}
	line, _ := strings.CutSuffix(string(sealed), "\n")
	f := strings.Split(line, " ")
	if len(f) != 7 || strings.ContainsAny(line, "\r\n") || !strings.HasPrefix(line, sealedText) {
		return c, "", nil, nil, damaged
	}
	m, ok1 := number(f[2], "m=", 32)
	t, ok2 := number(f[3], "t=", 32)
	p, ok3 := number(f[4], "p=", 8)
	salt, err1 := base64.RawURLEncoding.Strict().DecodeString(f[5])
	box, err2 := base64.RawURLEncoding.Strict().DecodeString(f[6])
	if !ok1 || !ok2 || !ok3 || err1 != nil || err2 != nil || len(salt) != saltSize || len(box) != nonceSize+keySize+tagSize {
		return c, "", nil, nil, damaged
	}
	c = Cost{Memory: uint32(m), Time: uint32(t), Lanes: uint8(p)} //nolint:gosec // G115: number was told their sizes
	return c, strings.TrimSuffix(line, f[6]), salt, box, nil
}

// number reads a decimal without sign or leading zeros after its name.
func number(s, name string, bits int) (uint64, bool) {
	digits, ok := strings.CutPrefix(s, name)
	n, err := strconv.ParseUint(digits, 10, bits)
	return n, ok && err == nil && strconv.FormatUint(n, 10) == digits
}
