package store

import (
	"encoding/base64"
	"strings"
)

// Sealer seals short texts with a key that does not lie in the database. It must
// be safe for concurrent use.
type Sealer interface {
	Seal(text []byte) []byte
	Unseal(sealed []byte) ([]byte, error)
}

// sealedMark begins a column that was sealed; no statement begins so.
const sealedMark = "\x01sealed "

// sealed gives what is stored of a text: people sign asks to the letter, so that
// nothing can be left out of them as it is out of events. What only looks sealed
// is sealed, too.
func (s *Store) sealed(text string, hide bool) string {
	if s.opt.Sealer == nil || !hide && !strings.HasPrefix(text, sealedMark) {
		return text
	}
	return sealedMark + base64.StdEncoding.EncodeToString(s.opt.Sealer.Seal([]byte(text)))
}

// unsealed gives the text again. One that does not open is empty: what is then
// said of it does not verify, and the rows beside it can still be read.
func (s *Store) unsealed(stored string) string {
	text, hidden := strings.CutPrefix(stored, sealedMark)
	if !hidden || s.opt.Sealer == nil {
		return stored
	}
	b, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return ""
	}
	if b, err = s.opt.Sealer.Unseal(b); err != nil {
		return ""
	}
	return string(b)
}
