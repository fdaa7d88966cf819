package vault

import (
	"os"
	"path/filepath"
	"strconv"

	"sallyport/internal/fault"
)

// keyringReachable refuses to look for a session bus where none is announced:
// the D-Bus client would start one of its own, an empty one.
func keyringReachable(lookup func(string) (string, bool)) error {
	if address, _ := lookup("DBUS_SESSION_BUS_ADDRESS"); address != "" {
		return nil
	}
	runtime, _ := lookup("XDG_RUNTIME_DIR")
	if runtime == "" {
		runtime = filepath.Join("/run/user", strconv.Itoa(os.Getuid()))
	}
	if _, err := os.Stat(filepath.Join(runtime, "bus")); err == nil {
		return nil
	}
	return fault.New(opKeyring, fault.Unavailable,
		"no keyring can be asked because this session has no D-Bus (DBUS_SESSION_BUS_ADDRESS); use a passphrase or a key file instead")
}
