package vault

import (
	"crypto/cipher"
	"reflect"
	"unsafe"
)

// wipeAEAD overwrites the key that a cipher of newAEAD holds a copy of; the
// cipher must not be used afterwards. What the cipher left on a stack (the
// subkey of one nonce) stays until it is overwritten.
func wipeAEAD(a cipher.AEAD) {
	v := reflect.ValueOf(a)
	if v.Kind() != reflect.Pointer || v.IsNil() {
		return
	}
	t := v.Type().Elem()
	// Only the shape that is known to be a bare key may be overwritten.
	if t.Kind() != reflect.Struct || t.NumField() != 1 || t.Field(0).Type != reflect.TypeFor[[keySize]byte]() {
		return
	}
	clear(unsafe.Slice((*byte)(v.UnsafePointer()), keySize)) //nolint:gosec // G103: the library offers no way to wipe a key; the type was checked above
}
