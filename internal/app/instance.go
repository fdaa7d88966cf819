package app

import (
	"crypto/rand"
	"encoding/hex"
	"regexp"
	"strings"

	"sallyport/internal/fault"
)

// instanceForm is a name that keys and checkpoints can carry.
var instanceForm = regexp.MustCompile(`^sallyport-[0-9a-f]{16}$`)

func newInstance() string {
	b := make([]byte, 8)
	_, _ = rand.Read(b) // never fails, says its documentation
	return "sallyport-" + hex.EncodeToString(b)
}

func checkInstance(text string) (string, error) {
	id := strings.TrimSpace(text)
	if !instanceForm.MatchString(id) {
		return "", fault.New("app.instance", fault.Corrupt, "keys/instance does not hold an instance's name: restore it from a backup")
	}
	return id, nil
}
