package vault

import (
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"sync"

	"golang.org/x/crypto/chacha20poly1305"

	"sallyport/internal/fault"
)

// An envelope has two parts, so that a key can be wrapped anew without touching
// the body it opens:
//
//	key:  format 1 │ epoch 4, big-endian │ nonce 24 │ record key 32 + tag 16
//	body: format 1 │ nonce 24 │ data + tag 16
const (
	format    = 1
	keySize   = chacha20poly1305.KeySize
	nonceSize = chacha20poly1305.NonceSizeX
	tagSize   = chacha20poly1305.Overhead

	keyHead    = 1 + 4 + nonceSize
	wrappedLen = keyHead + keySize + tagSize
	bodyHead   = 1 + nonceSize

	// Overhead is what an envelope has more bytes than its data.
	Overhead = wrappedLen + bodyHead + tagSize

	// MaxBody is the most bytes of data one item holds: it is sealed and opened
	// whole in memory.
	MaxBody = 16 << 20
)

// recordKey opens one version of one item.
type recordKey [keySize]byte

// errEnvelope is every reason why an envelope does not open: which part failed
// is of use to nobody but who altered it.
var errEnvelope = errors.New("the envelope does not open")

// scratch holds what one operation needs besides its result; random is drawn in
// one call, because the call costs more than its bytes.
type scratch struct {
	bound  []byte
	random [keySize + 2*nonceSize]byte // record key, nonce of the key, nonce of the body
}

var scratches = sync.Pool{New: func() any { return &scratch{bound: make([]byte, 0, 512)} }}

func (s *scratch) release() {
	clear(s.random[:])
	scratches.Put(s)
}

// newScratch draws a fresh record key and its nonces.
func newScratch() *scratch {
	s, _ := scratches.Get().(*scratch)
	rand.Read(s.random[:]) // never fails: crypto/rand ends the program instead
	return s
}

func (s *scratch) key() *recordKey { return (*recordKey)(s.random[:keySize]) }

// wrap seals the record key with a KEK.
func (s *scratch) wrap(kek cipher.AEAD, epoch uint32, instance string, r Ref) []byte {
	return s.wrapKey(kek, s.key(), epoch, instance, r)
}

func (s *scratch) wrapKey(kek cipher.AEAD, key *recordKey, epoch uint32, instance string, r Ref) []byte {
	nonce := s.random[keySize : keySize+nonceSize]
	out := make([]byte, 0, wrappedLen)
	out = append(out, format)
	out = binary.BigEndian.AppendUint32(out, epoch)
	out = append(out, nonce...)
	s.bound = appendUint32(appendBinding(s.bound[:0], purposeKey, instance, r), epoch)
	return kek.Seal(out, nonce, key[:], s.bound)
}

// seal seals data with the record key.
func (s *scratch) seal(instance string, r Ref, data []byte) ([]byte, error) {
	aead, err := newAEAD(s.key()[:])
	if err != nil {
		return nil, err
	}
	defer wipeAEAD(aead)
	nonce := s.random[keySize+nonceSize:]
	out := make([]byte, 0, bodyHead+len(data)+tagSize)
	out = append(append(out, format), nonce...)
	s.bound = appendBinding(s.bound[:0], purposeBody, instance, r)
	return aead.Seal(out, nonce, data, s.bound), nil
}

// epochOf reads the epoch of a wrapped record key; the rest is not looked at.
func epochOf(wrapped []byte) (uint32, error) {
	if len(wrapped) != wrappedLen || wrapped[0] != format {
		return 0, errEnvelope
	}
	return binary.BigEndian.Uint32(wrapped[1:]), nil
}

// unwrapKey opens a wrapped record key into key, which stays zero when it fails.
func unwrapKey(key *recordKey, kek cipher.AEAD, instance string, r Ref, wrapped []byte) error {
	epoch, err := epochOf(wrapped)
	if err != nil {
		return err
	}
	s, _ := scratches.Get().(*scratch)
	defer s.release()
	s.bound = appendUint32(appendBinding(s.bound[:0], purposeKey, instance, r), epoch)
	if _, err := kek.Open(key[:0], wrapped[5:keyHead], wrapped[keyHead:], s.bound); err != nil {
		return errEnvelope
	}
	return nil
}

// openBody opens a body with its record key.
func openBody(key *recordKey, instance string, r Ref, body []byte) ([]byte, error) {
	if len(body) < bodyHead+tagSize || len(body) > MaxBody+bodyHead+tagSize || body[0] != format {
		return nil, errEnvelope
	}
	aead, err := newAEAD(key[:])
	if err != nil {
		return nil, err
	}
	defer wipeAEAD(aead)
	s, _ := scratches.Get().(*scratch)
	defer s.release()
	s.bound = appendBinding(s.bound[:0], purposeBody, instance, r)
	data, err := aead.Open(make([]byte, 0, len(body)-bodyHead-tagSize), body[1:bodyHead], body[bodyHead:], s.bound)
	if err != nil {
		return nil, errEnvelope
	}
	return data, nil
}

func newAEAD(key []byte) (cipher.AEAD, error) {
	aead, err := chacha20poly1305.NewX(key)
	if err != nil {
		return nil, &fault.Error{
			Op: "vault.cipher", Kind: fault.Unsupported, Err: err,
			Public: "the vault seals with XChaCha20-Poly1305, which this process may not use (FIPS 140-only mode); run it without that mode",
		}
	}
	return aead, nil
}
