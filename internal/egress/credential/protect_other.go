//go:build !linux

package credential

import "sallyport/internal/fault"

// ProtectProcess is for Linux; elsewhere it is fault.Unsupported.
func ProtectProcess(bool) error {
	return fault.New("credential.protect", fault.Unsupported,
		"secrets in memory are protected from core dumps and other processes on Linux only; run there")
}
