package credential

import (
	"fmt"
	"io"
	"log/slog"
)

// redacted is what every printed form of a value says.
const redacted = "[secret]"

// Value is a secret. Copies share one memory, so that wiping one wipes all.
// The zero Value holds nothing.
type Value struct {
	// use calls with the memory. Nothing can print what a closure holds; a
	// pointer is not enough, since fmt follows it when a verb does not fit.
	use func(func(*[]byte))
}

// newValue takes over b.
func newValue(b []byte) Value {
	return Value{func(f func(*[]byte)) { f(&b) }}
}

// Reveal gives the secret; it is the only way out. The copy it makes cannot be
// wiped. A Value that holds nothing, or was wiped, gives the empty string.
func (v Value) Reveal() (secret string) {
	if v.use != nil {
		v.use(func(b *[]byte) { secret = string(*b) })
	}
	return secret
}

// Len gives the length in bytes; 0 after Wipe.
func (v Value) Len() (n int) {
	if v.use != nil {
		v.use(func(b *[]byte) { n = len(*b) })
	}
	return n
}

// Wipe overwrites the secret, as well as a collected language can: copies that
// Reveal made, and what a Set derived from it, remain until they are collected.
// It must not run beside other uses of the value.
func (v Value) Wipe() {
	if v.use != nil {
		v.use(func(b *[]byte) {
			clear(*b)
			*b = nil
		})
	}
}

// String gives "[secret]".
func (Value) String() string { return redacted }

// GoString gives "[secret]".
func (Value) GoString() string { return redacted }

// Format writes "[secret]" whatever the verb is.
func (Value) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// MarshalText gives "[secret]".
func (Value) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// MarshalJSON gives "[secret]" as a JSON string.
func (Value) MarshalJSON() ([]byte, error) { return []byte(`"` + redacted + `"`), nil }

// LogValue gives "[secret]".
func (Value) LogValue() slog.Value { return slog.StringValue(redacted) }

var (
	_ fmt.Formatter  = Value{}
	_ fmt.GoStringer = Value{}
	_ slog.LogValuer = Value{}
)
