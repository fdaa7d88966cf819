package credential

import (
	"bytes"
	"encoding/gob"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
)

// TestValueSaysNothing: no way of printing gives the secret, not even from an
// unexported field, where fmt cannot ask the value.
func TestValueSaysNothing(t *testing.T) {
	v := newValue([]byte(secret))
	type nest struct {
		Open   Value
		hidden Value
		ptr    *Value
		list   []Value
	}
	n := nest{v, v, &v, []Value{v}}
	var texts []string
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%p", "%t", "%w", "%08.3f", "%U", "%c"} {
		for _, arg := range []any{v, &v, n, &n, b(v), []any{v}, map[string]Value{"k": v}, fmt.Errorf("%v", v)} {
			texts = append(texts, fmt.Sprintf(verb, arg))
		}
	}
	texts = append(texts, fmt.Sprint(v), fmt.Sprintln(n), v.String(), v.GoString(), v.LogValue().String())
	for _, marshal := range []func(any) ([]byte, error){
		json.Marshal, xml.Marshal, func(v any) ([]byte, error) { return yaml.Marshal(v) },
		func(v any) ([]byte, error) {
			var out bytes.Buffer
			err := gob.NewEncoder(&out).Encode(v)
			return out.Bytes(), err
		},
	} {
		for _, arg := range []any{v, &v, struct{ V Value }{v}, b(v)} {
			out, err := marshal(arg)
			texts = append(texts, string(out), fmt.Sprint(err))
		}
	}
	var log bytes.Buffer
	for _, h := range []slog.Handler{slog.NewJSONHandler(&log, nil), slog.NewTextHandler(&log, nil)} {
		slog.New(h).Info("m", "v", v, "p", &v, "n", n, "g", slog.GroupValue(slog.Any("v", v)))
	}
	texts = append(texts, log.String())
	for _, text := range texts {
		for name, w := range writings(secret, placeholder) {
			if strings.Contains(text, w[0]) {
				t.Errorf("the value is in %q as %s", text, name)
			}
		}
		if strings.Contains(text, "115 107 45") || strings.Contains(text, "0x73, 0x6b") {
			t.Errorf("the value's bytes are in %q", text)
		}
	}
	if got, _ := json.Marshal(struct{ V Value }{v}); string(got) != `{"V":"[secret]"}` {
		t.Errorf("JSON %s", got)
	}
}

func b(v Value) Binding { return Binding{Name: "n", Value: v} }

func TestValueWipe(t *testing.T) {
	memory := []byte(secret)
	v := newValue(memory)
	w := v
	if v.Reveal() != secret || w.Len() != len(secret) {
		t.Fatal("the value is not what was given")
	}
	v.Wipe()
	if w.Reveal() != "" || w.Len() != 0 || !bytes.Equal(memory, make([]byte, len(secret))) {
		t.Error("a copy survives")
	}
	var zero Value
	zero.Wipe()
	if zero.Reveal() != "" || zero.Len() != 0 {
		t.Error("the zero value holds something")
	}
}
