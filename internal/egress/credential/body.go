package credential

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxBody is the largest body, in bytes, that is read to look for a place.
const maxBody = 1 << 20

// body looks into the body of a request for a host that has a place there.
// Whatever it cannot read as the kinds declared could hold the field in a way
// that the service reads and this does not, and is refused.
func (q *request) body() error {
	if !q.site.body() || q.r.Body == nil || q.r.Body == http.NoBody || q.r.ContentLength == 0 {
		return nil
	}
	kind, err := q.kind()
	if err != nil {
		return err
	}
	if q.r.ContentLength < 0 || q.r.ContentLength > maxBody {
		return deny("a body for %s must say its length and be at most 1 MiB, because a secret has its place in it; send a smaller one", q.host)
	}
	text, err := io.ReadAll(io.LimitReader(q.r.Body, q.r.ContentLength+1))
	if err != nil || int64(len(text)) != q.r.ContentLength {
		return deny("the body for %s is not as long as it says; send all of it", q.host)
	}
	_ = q.r.Body.Close() // it was read to its end
	q.setBody(text)
	q.text = string(text)
	if kind == Form {
		parts, uses, err := q.pairs(q.text, Form, "the form")
		if err != nil {
			return err
		}
		q.plan(uses, func() { q.setBody([]byte(strings.Join(parts, "&"))) })
		return nil
	}
	return q.json(text)
}

// kind tells what the body is said to be.
func (q *request) kind() (Where, error) {
	types, codings := q.r.Header.Values("Content-Type"), q.r.Header.Values("Content-Encoding")
	refused := deny("a body for %s must be of one declared type, JSON or form as its secrets have it, in UTF-8 and not encoded, because a secret has its place in it", q.host)
	if len(types) != 1 || len(codings) > 1 || len(codings) == 1 && !strings.EqualFold(codings[0], "identity") {
		return 0, refused
	}
	name, params, err := mime.ParseMediaType(types[0])
	if charset, ok := params["charset"]; err != nil || ok && !strings.EqualFold(charset, "utf-8") {
		return 0, refused
	}
	kind := Header
	switch {
	case name == "application/x-www-form-urlencoded":
		kind = Form
	case name == "application/json" || strings.HasSuffix(name, "+json"):
		kind = JSON
	}
	if kind == Form && len(q.site.forms) > 0 || kind == JSON && len(q.site.pointers) > 0 {
		return kind, nil
	}
	return 0, refused
}

func (q *request) setBody(b []byte) {
	q.r.Body = io.NopCloser(bytes.NewReader(b))
	q.r.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b)), nil }
	q.r.ContentLength = int64(len(b))
	q.r.TransferEncoding = nil
	if q.r.Header.Get("Content-Length") != "" {
		q.r.Header.Set("Content-Length", strconv.Itoa(len(b)))
	}
}

// pointer splits a JSON pointer of at least one name.
func pointer(s string) ([]string, bool) {
	if !strings.HasPrefix(s, "/") {
		return nil, false
	}
	names := strings.Split(s[1:], "/")
	for i, n := range names {
		names[i] = strings.NewReplacer("~1", "/", "~0", "~").Replace(n)
	}
	return names, true
}

// spotted is a member of a JSON body that a place names.
type spotted struct {
	path       string // of the place
	exact      bool   // the names are spelled as in the place
	text       bool   // it is a string
	value      string
	begin, end int // in the body, of the string's literal
}

func (q *request) json(text []byte) error {
	found, err := find(text, q.site.pointers)
	if err != nil {
		return deny("the body for %s is no JSON that everybody reads alike (%s); correct it", q.host, err)
	}
	seen := map[string]bool{}
	var uses []use
	var out []byte
	done := 0
	for _, f := range found {
		if seen[f.path] {
			return deny("the body for %s carries %s more than once; send it once", q.host, f.path)
		}
		seen[f.path] = true
		b, p := q.field(JSON, f.path, f.value)
		switch {
		case f.exact && f.text && b != nil:
			literal, err := json.Marshal(b.Value.Reveal())
			if err != nil {
				return errors.New("credential.outgoing: a string that JSON cannot hold")
			}
			out = append(append(out, text[done:f.begin]...), literal...)
			done = f.end
			uses = append(uses, use{binding: b, place: p})
		case !f.text || !q.set.isPlaceholder(f.value):
			return q.foreign("the body (" + f.path + ")")
		}
	}
	out = append(out, text[done:]...)
	q.plan(uses, func() { q.setBody(out) })
	return nil
}

// candidate is a place whose names so far are those on the way.
type candidate struct {
	path  string
	names []string
	exact bool
}

// find gives the members of a JSON text that the pointers name. Names are
// compared without case, as many services do. What services read differently,
// a second text or invalid UTF-8, is an error.
func find(text []byte, pointers []string) ([]spotted, error) {
	// Valid also bounds how deep the walk goes.
	if !utf8.Valid(text) || !json.Valid(text) {
		return nil, errors.New("it is malformed")
	}
	w := walker{text: text, d: json.NewDecoder(bytes.NewReader(text))}
	w.d.UseNumber()
	var all []candidate
	for _, path := range pointers {
		names, _ := pointer(path)
		all = append(all, candidate{path, names, true})
	}
	err := w.value(all)
	return w.found, err
}

type walker struct {
	text  []byte
	d     *json.Decoder
	found []spotted
}

// value reads one value; near are the places it lies on the way of.
func (w *walker) value(near []candidate) error {
	begin := int(w.d.InputOffset())
	token, err := w.d.Token()
	if err != nil {
		return errors.New("it is malformed")
	}
	begin += len(w.text[begin:]) - len(bytes.TrimLeft(w.text[begin:], " \t\r\n:,"))
	text, isText := token.(string)
	for _, c := range near {
		if len(c.names) == 0 {
			w.found = append(w.found, spotted{c.path, c.exact, isText, text, begin, int(w.d.InputOffset())})
		}
	}
	delim, nested := token.(json.Delim)
	if !nested {
		return nil
	}
	for w.d.More() {
		var inner []candidate
		if delim == '{' {
			if inner, err = w.name(near); err != nil {
				return err
			}
		}
		if err := w.value(inner); err != nil {
			return err
		}
	}
	_, err = w.d.Token() // the closing one
	return err
}

// name reads a member's name and gives the places that go on with it.
func (w *walker) name(near []candidate) ([]candidate, error) {
	token, err := w.d.Token()
	if err != nil {
		return nil, errors.New("it is malformed")
	}
	name, _ := token.(string)
	var inner []candidate
	for _, c := range near {
		if len(c.names) > 0 && strings.EqualFold(c.names[0], name) {
			inner = append(inner, candidate{c.path, c.names[1:], c.exact && c.names[0] == name})
		}
	}
	return inner, nil
}
