package vault

import (
	"encoding/binary"

	"sallyport/internal/label"
	"sallyport/internal/record"
)

// Ref names one version of an item; see record.
type Ref = record.SealedRef

// The purposes a key of the vault is used for: they part the associated data of
// one use from every other.
const (
	purposeBody  = "sallyport vault 1 body"
	purposeKey   = "sallyport vault 1 record key"
	purposeKEK   = "sallyport vault 1 kek"
	purposeState = "sallyport vault 1 state"
	purposeRoot  = "sallyport vault 1 root"
)

// The one encoding of what a ciphertext is bound to: every field in a fixed
// order, each with its length in four bytes, big-endian, before it. Two
// different lists of fields never encode to the same bytes.

func appendField[T ~string | ~[]byte](b []byte, field T) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(len(field))) //nolint:gosec // G115: fields are bounded far below 4 GiB
	return append(b, field...)
}

func appendUint32(b []byte, v uint32) []byte {
	return binary.BigEndian.AppendUint32(append(b, 0, 0, 0, 4), v)
}

func appendUint64(b []byte, v uint64) []byte {
	return binary.BigEndian.AppendUint64(append(b, 0, 0, 0, 8), v)
}

func appendLabel(b []byte, l label.Label) []byte {
	b = append(b, 0, 0, 0, 10, byte(l.Level), byte(l.Integrity))
	return binary.BigEndian.AppendUint64(b, uint64(l.Compartments))
}

// appendBinding encodes what both parts of an envelope are bound to.
func appendBinding(b []byte, purpose, instance string, r Ref) []byte {
	b = appendField(b, purpose)
	b = appendField(b, instance)
	b = appendField(b, r.ID)
	b = appendLabel(b, r.Label)
	return appendUint64(b, r.Version)
}
