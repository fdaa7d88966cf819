package record

import "sallyport/internal/label"

// SealedRef names one version of a sealed item.
type SealedRef struct {
	ID      string // 1 to 255 bytes of UTF-8 without control characters
	Label   label.Label
	Version uint64 // 1 for the first; every change of body or label adds one
}

// SealedItem is a row of the vault's book: an envelope and what it is bound to.
type SealedItem struct {
	SealedRef
	Epoch uint32 // the epoch of the KEK that wraps Key; equals the one inside Key
	Key   []byte // the wrapped record key
	Body  []byte // the sealed data
	Held  bool   // under legal hold: may not be erased
}

// SealedKeyID names a key that wraps record keys (a KEK).
type SealedKeyID struct {
	Compartments label.Compartments
	Level        label.Level
	Epoch        uint32
}

// SealedKey is a row of the book: a KEK wrapped by the root key.
type SealedKey struct {
	SealedKeyID
	Generation uint32 // of the root key that wraps it
	Wrapped    []byte // nonce 24 │ KEK 32 + tag 16
}

// SealedState is the one row that says which keys are in force. It is sealed
// with the root key, so a wrong root key is noticed before anything is done
// with it.
type SealedState struct {
	Generation uint32 // of the root key: 1, and one more for every Rekey
	Epoch      uint32 // new record keys are wrapped in this one
	Oldest     uint32 // the oldest epoch that is not retired; 1 to Epoch
	Seal       string // HMAC-SHA-256 under a key derived from the root key, 32 bytes
}
