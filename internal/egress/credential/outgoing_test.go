package credential

import (
	"context"
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sallyport/internal/fault"
)

const host = "api.example.com"

// token is a value that goes into headers too.
const token = "tok_9f8e7d6c/5b4a+Z="

func bindings() []Binding {
	v := newValue([]byte(token))
	return []Binding{
		{
			Name: "model", Host: host, Value: v, Placeholder: placeholder,
			Places: []Place{{Name: "Authorization", Template: "Bearer {}"}, {Name: "X-Api-Key"}, {In: Query, Name: "key"}},
		},
		{
			Name: "git", Host: "git.example.com", Value: v, Placeholder: "PLACEHOLDER-git0",
			Places: []Place{{In: Basic}},
		},
		{
			Name: "login", Host: "login.example.com", Port: 8443, Value: v, Placeholder: "PLACEHOLDER-login",
			Places: []Place{{In: JSON, Name: "/auth/token"}, {In: Form, Name: "client_secret"}},
		},
	}
}

func lab(t testing.TB) *Set {
	t.Helper()
	s, err := NewSet(bindings())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func yes(context.Context, string, string) error { return nil }

// parse reads a request as the proxy's server would.
func parse(t testing.TB, raw string) *http.Request {
	t.Helper()
	r, err := http.ReadRequest(reading(strings.ReplaceAll(raw, "\n", "\r\n")))
	if err != nil {
		t.Fatalf("%v in %q", err, raw)
	}
	return r
}

// sent renders what would leave.
func sent(t testing.TB, r *http.Request) string {
	t.Helper()
	b, err := httputil.DumpRequestOut(absolute(r), true)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// absolute makes a request that was received one that can be sent.
func absolute(r *http.Request) *http.Request {
	out := r.Clone(context.Background())
	out.RequestURI = ""
	out.URL.Scheme, out.URL.Host = "https", host
	return out
}

func TestOutgoingPutsIn(t *testing.T) {
	q := url.QueryEscape(token)
	basic := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
	for name, c := range map[string]struct {
		host   string
		port   uint16
		in     string
		want   []string // in what is sent
		uses   string
		strays int
	}{
		"bearer": {host, 443, "GET / HTTP/1.1\nHost: api.example.com\nAuthorization: bearer " + placeholder + "\n\n", []string{"Authorization: Bearer " + token + "\r\n"}, "model header Authorization", 0},
		"two places": {
			host, 443, "GET /?a=1&key=" + placeholder + "&b=%20 HTTP/1.1\nHost: API.example.com.:443\nx-api-key: " + placeholder + "\n\n",
			[]string{"X-Api-Key: " + token + "\r\n", "GET /?a=1&key=" + q + "&b=%20 HTTP"},
			"model header X-Api-Key|model query key", 0,
		},
		"elsewhere it stays": {
			host, 443, "GET /" + placeholder + "?q=" + placeholder + " HTTP/1.1\nHost: api.example.com\nX-Note: " + placeholder + "\nAuthorization: Bearer " + placeholder + "\n\n",
			[]string{"GET /" + placeholder + "?q=" + placeholder, "X-Note: " + placeholder, "Bearer " + token},
			"model header Authorization", 3,
		},
		"basic": {
			"git.example.com", 443, "GET /r HTTP/1.1\nHost: git.example.com\nAuthorization: Basic " + basic("me:PLACEHOLDER-git0") + "\n\n",
			[]string{"Authorization: Basic " + basic("me:"+token)},
			"git basic", 0,
		},
		"another query key": {
			host, 443, "GET /?api_key=" + placeholder + "&a=1 HTTP/1.1\nHost: api.example.com\n\n", []string{"GET /?api_key=" + placeholder + "&a=1"}, "", 1,
		},
		"another case": {host, 443, "GET /?KEY=" + placeholder + " HTTP/1.1\nHost: api.example.com\n\n", []string{"GET /?KEY=" + placeholder}, "", 1},
		"another scheme": {
			host, 443, "GET / HTTP/1.1\nHost: api.example.com\nAuthorization: Digest " + placeholder + "\n\n", []string{"Authorization: Digest " + placeholder}, "", 1,
		},
		"without power": {
			"git.example.com", 443, "GET /r HTTP/1.1\nHost: git.example.com\nAuthorization: Bearer " + placeholder + "\n\n",
			[]string{"Bearer " + placeholder},
			"", 1,
		},
		"json": {
			"login.example.com", 8443, "POST / HTTP/1.1\nHost: login.example.com:8443\nContent-Type: application/json\nContent-Length: 60\n\n" +
				`{"token":1, "auth" : {"token" : "PLACEHOLDER-lo\u0067in" }} `,
			[]string{`{"token":1, "auth" : {"token" : "` + token + `" }} `},
			"login json /auth/token", 0,
		},
		"form": {
			"login.example.com", 8443, "POST / HTTP/1.1\nHost: login.example.com:8443\nContent-Type: application/x-www-form-urlencoded\nContent-Length: 39\n\n" +
				`a=+b&client_secret=PLACEHOLDER-login&c=`,
			[]string{"a=+b&client_secret=" + q + "&c="},
			"login form client_secret", 0,
		},
		"another host":   {"other.example.com", 443, "GET /?k=" + placeholder + " HTTP/1.1\nHost: other.example.com\nAuthorization: Bearer " + placeholder + "\nCookie: a=b\n\n", []string{"Bearer " + placeholder, "Cookie: a=b"}, "", 2},
		"another port":   {host, 8080, "GET / HTTP/1.1\nHost: api.example.com:8080\nX-Api-Key: " + placeholder + "\n\n", []string{"X-Api-Key: " + placeholder}, "", 1},
		"no credential":  {host, 443, "GET /public HTTP/1.1\nHost: api.example.com\n\n", nil, "", 0},
		"ranges removed": {host, 443, "GET / HTTP/1.1\nHost: api.example.com\nRange: bytes=0-3\nAccept-Encoding: br\n\n", []string{"Accept-Encoding: gzip, deflate\r\n"}, "", 0},
	} {
		t.Run(name, func(t *testing.T) {
			r := parse(t, c.in)
			var uses []string
			strays, err := lab(t).Outgoing(t.Context(), c.host, c.port, true, r, func(_ context.Context, name, field string) error {
				uses = append(uses, name+" "+field)
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			out := sent(t, r)
			for _, w := range c.want {
				if !strings.Contains(out, w) {
					t.Errorf("%q is not in\n%s", w, out)
				}
			}
			if strings.Contains(out, "Range") {
				t.Errorf("a range is asked for:\n%s", out)
			}
			if diff := cmp.Diff(c.uses, strings.Join(sorted(uses), "|")); diff != "" {
				t.Errorf("uses (-want +got):\n%s", diff)
			}
			if len(strays) != c.strays {
				t.Errorf("strays: %q", strays)
			}
			if c.uses == "" && len(lab(t).Scrub([]byte(out))) != len(out) {
				t.Errorf("the value is in\n%s", out)
			}
		})
	}
}

const (
	plainHead = " HTTP/1.1\nHost: api.example.com\n"
	jsonHead  = "POST / HTTP/1.1\nHost: login.example.com:8443\nContent-Type: application/json\nContent-Length: "
	formHead  = "POST / HTTP/1.1\nHost: login.example.com:8443\nContent-Type: application/x-www-form-urlencoded\nContent-Length: "
)

// with adds the length and the body.
func with(head, body string) string { return head + strconv.Itoa(len(body)) + "\n\n" + body }

// TestOutgoingRefuses: each of these would carry data away under an account of
// the attacker's, or get a value to where it does not belong, if the request
// were merely searched for placeholders. That naive substitution sends every
// one of them is shown first.
func TestOutgoingRefuses(t *testing.T) {
	foreign := "not Sallyport's"
	for name, c := range map[string]struct{ in, says string }{
		"authorization":   {"GET /" + plainHead + "Authorization: Bearer sk-attacker\n\n", foreign},
		"empty":           {"GET /" + plainHead + "Authorization:\n\n", foreign},
		"around":          {"GET /" + plainHead + "Authorization: Bearer " + placeholder + "x\n\n", foreign},
		"another header":  {"GET /" + plainHead + "X-Goog-Api-Key: AIza\nAuthorization: Bearer " + placeholder + "\n\n", foreign},
		"bound header":    {"GET /" + plainHead + "X-Api-Key: AIza\n\n", foreign},
		"any api key":     {"GET /" + plainHead + "Xi-Api-Key: theirs\n\n", foreign},
		"job token":       {"GET /" + plainHead + "Job-Token: theirs\n\n", foreign},
		"shop token":      {"GET /" + plainHead + "X-Shopify-Access-Token: theirs\n\n", foreign},
		"query token":     {"GET /?private_token=theirs" + plainHead + "\n", foreign},
		"cookie":          {"GET /" + plainHead + "Cookie: session=attacker\n\n", foreign},
		"proxy":           {"GET /" + plainHead + "Proxy-Authorization: Basic eDp5\n\n", foreign},
		"underscore":      {"GET /" + plainHead + "X_Api_Key: " + placeholder + "\n\n", "underscores"},
		"basic":           {"GET /" + plainHead + "Authorization: Basic eDp5\n\n", foreign},
		"signature":       {"GET /" + plainHead + "Authorization: AWS4-HMAC-SHA256 Credential=AKIA/20260101/s3\n\n", foreign},
		"twice":           {"GET /" + plainHead + "X-Api-Key: " + placeholder + "\nX-API-KEY: mine\n\n", "more than once"},
		"twice the same":  {"GET /" + plainHead + "X-Api-Key: " + placeholder + "\nX-Api-Key: " + placeholder + "\n\n", "more than once"},
		"hop by hop":      {"GET /" + plainHead + "X-Api-Key: " + placeholder + "\nConnection: close, x-api-key\n\n", "Connection"},
		"hop by hop old":  {"GET /" + plainHead + "X-Api-Key: " + placeholder + "\nProxy-Connection: X_API_KEY\n\n", "Connection"},
		"upgrade":         {"GET /" + plainHead + "Connection: upgrade\nUpgrade: websocket\n\n", "change of protocol"},
		"query":           {"GET /?key=mine" + plainHead + "\n", foreign},
		"query case":      {"GET /?KEY=mine" + plainHead + "\n", foreign},
		"query escaped":   {"GET /?%6bey=mine" + plainHead + "\n", foreign},
		"query twice":     {"GET /?key=" + placeholder + "&key=mine" + plainHead + "\n", "more than once"},
		"query list":      {"GET /?key=" + placeholder + "&key[]=mine" + plainHead + "\n", "more than once"},
		"query semicolon": {"GET /?a=b;key=mine" + plainHead + "\n", "more than once"},
		"query malformed": {"GET /?%zzkey=mine" + plainHead + "\n", "badly escaped"},
		"query other":     {"GET /?access_token=mine" + plainHead + "\n", foreign},
		"userinfo":        {"GET https://me:mine@api.example.com/" + plainHead + "\n", foreign},
		"fronted":         {"GET / HTTP/1.1\nHost: evil.example.com\nX-Api-Key: " + placeholder + "\n\n", "name what it is sent to"},
		"fronted target":  {"GET https://evil.example.com/" + plainHead + "X-Api-Key: " + placeholder + "\n\n", "name what it is sent to"},
		"other port":      {"GET / HTTP/1.1\nHost: api.example.com:8443\n\n", "name what it is sent to"},
		"trace":           {"TRACE /" + plainHead + "X-Api-Key: " + placeholder + "\n\n", "TRACE"},
		"trailers":        {"POST /" + plainHead + "Transfer-Encoding: chunked\nTrailer: X-Api-Key\n\n0\nX-Api-Key: mine\n\n", "trailers"},
		"json":            {with(jsonHead, `{"auth":{"token":"mine_"}}`), foreign},
		"json number":     {with(jsonHead, `{"auth":{"token":1}}`), foreign},
		"json object":     {with(jsonHead, `{"auth":{"token":{"a":"PLACEHOLDER-login-aaa"}}}`), foreign},
		"json twice":      {with(jsonHead, `{"auth":{"token":"PLACEHOLDER-login","\u0074oken":"mine_"}}`), "more than once"},
		"json parents":    {with(jsonHead, `{"auth":{"token":"PLACEHOLDER-login"},"AUTH":{"Token":"attacker's"}}`), "more than once"},
		"json two texts":  {with(jsonHead, `{} {"auth":{"token":1}}`), "JSON"},
		"json short":      {jsonHead + "99\n\n" + `{"auth":{"token":"PLACEHOLDER-login"}}`, "as long as it says"},
		"json no utf-8":   {jsonHead + "7\n\n" + "{\"\xff\":1}", "JSON"},
		"not json":        {strings.Replace(jsonHead, "application/json", "text/plain", 1) + "2\n\n{}", "declared type"},
		"utf-16":          {strings.Replace(jsonHead, "/json", "/json;charset=utf-16", 1) + "2\n\n{}", "declared type"},
		"two types":       {strings.Replace(jsonHead, "Content-Type", "Content-Type: text/plain\nContent-Type", 1) + "2\n\n{}", "declared type"},
		"two types back":  {strings.Replace(jsonHead, "application/json", "application/json\nContent-Type: text/plain", 1) + "2\n\n{}", "declared type"},
		"encoded body":    {strings.Replace(jsonHead, "Content-Type", "Content-Encoding: gzip\nContent-Type", 1) + "2\n\n{}", "declared type"},
		"no length":       {strings.Replace(jsonHead, "Content-Length: ", "Transfer-Encoding: chunked\n\n2\n{}\n0\n\n", 1), "at most 1 MiB"},
		"too long":        {jsonHead + "1048577\n\n{}", "at most 1 MiB"},
		"form":            {formHead + "18\n\nclient_secret=mine", foreign},
		"form twice":      {formHead + "50\n\nclient_secret=PLACEHOLDER-login&Client-Secret=mine", "more than once"},
		"json as a form":  {"POST / HTTP/1.1\nHost: login.example.com\nContent-Type: multipart/form-data;boundary=b\nContent-Length: 2\n\nx=", "declared type"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, placeholders := range []string{placeholder, "PLACEHOLDER-login"} {
				naive := strings.ReplaceAll(c.in, placeholders, token)
				if _, err := http.ReadRequest(reading(strings.ReplaceAll(naive, "\n", "\r\n"))); err != nil {
					t.Fatalf("the attack does not work without us: %v", err)
				}
			}
			to, port := host, uint16(443)
			if strings.Contains(c.in, "Host: login") {
				to, port = "login.example.com", 8443
			}
			r := parse(t, c.in)
			_, err := lab(t).Outgoing(t.Context(), to, port, true, r, func(context.Context, string, string) error {
				t.Error("the gate was asked for a request that is refused")
				return nil
			})
			refused(t, err, fault.Denied, c.says, token)
			if errors.Is(err, ErrUpgrade) != (name == "upgrade") {
				t.Errorf("%v is of the wrong kind", err)
			}
		})
	}
}

// TestOutgoingNeedsTLS: never in clear, and not by a request that names the
// host but goes elsewhere.
func TestOutgoingNeedsTLS(t *testing.T) {
	in := "GET /" + plainHead + "X-Api-Key: " + placeholder + "\n\n"
	_, err := lab(t).Outgoing(t.Context(), host, 443, false, parse(t, in), yes)
	refused(t, err, fault.Denied, "not encrypted", token)
	for _, to := range []string{"cdn.example.net", "evil.api.example.com", "xapi.example.com"} {
		_, err = lab(t).Outgoing(t.Context(), to, 443, true, parse(t, in), yes)
		refused(t, err, fault.Denied, "name what it is sent to", token)
	}
	// Port 80 of the host: nothing is put in, and a foreign credential is as
	// bad as on port 443.
	r := parse(t, in)
	if strays, err := lab(t).Outgoing(t.Context(), host, 80, false, r, yes); err != nil || len(strays) != 1 || r.Header.Get("X-Api-Key") != placeholder {
		t.Errorf("got %q, %v", strays, err)
	}
	_, err = lab(t).Outgoing(t.Context(), host, 80, false, parse(t, strings.Replace(in, placeholder, "mine", 1)), yes)
	refused(t, err, fault.Denied, "not Sallyport's", token)
}

// TestOutgoingAsksTheGate: its no is the answer, and nothing was put in.
func TestOutgoingAsksTheGate(t *testing.T) {
	no := errors.New("the owner said no")
	r := parse(t, "GET /?key="+placeholder+plainHead+"X-Api-Key: "+placeholder+"\n\n")
	asked := 0
	_, err := lab(t).Outgoing(t.Context(), host, 443, true, r, func(_ context.Context, name, field string) error {
		if asked++; asked == 2 {
			return no
		}
		return nil
	})
	if !errors.Is(err, no) || asked != 2 {
		t.Errorf("got %v after %d questions", err, asked)
	}
	if out := sent(t, r); strings.Contains(out, token) || strings.Contains(out, url.QueryEscape(token)) {
		t.Errorf("the value was put in:\n%s", out)
	}
}

func TestOutgoingAfterWipe(t *testing.T) {
	b := bindings()
	s, err := NewSet(b)
	if err != nil {
		t.Fatal(err)
	}
	b[0].Value.Wipe()
	_, err = s.Outgoing(t.Context(), host, 443, true, parse(t, "GET /"+plainHead+"X-Api-Key: "+placeholder+"\n\n"), yes)
	refused(t, err, fault.Denied, "wiped", token)
}

// TestOutgoingBodyCanBeReadAgain: a body without a secret arrives as it was.
func TestOutgoingBodyCanBeReadAgain(t *testing.T) {
	r := parse(t, jsonHead+"15\n\n"+`{ "auth":null }`)
	if _, err := lab(t).Outgoing(t.Context(), "login.example.com", 8443, true, r, yes); err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(r.Body)
	if err != nil || string(b) != `{ "auth":null }` || r.ContentLength != 15 {
		t.Errorf("got %q, %d, %v", b, r.ContentLength, err)
	}
}

// TestOutgoingBodyHasItsLength: what is behind the length, or missing before
// it, was not looked at.
func TestOutgoingBodyHasItsLength(t *testing.T) {
	for _, body := range []string{`{} `, `{`} {
		r := parse(t, jsonHead+"2\n\n{}")
		r.Body = io.NopCloser(strings.NewReader(body))
		_, err := lab(t).Outgoing(t.Context(), "login.example.com", 8443, true, r, yes)
		refused(t, err, fault.Denied, "as long as it says", token)
	}
}

// FuzzOutgoing: whatever is sent wherever, the value leaves in its own place to
// its own host over TLS, or not at all.
func FuzzOutgoing(f *testing.F) {
	for _, in := range []string{
		"GET /?key=" + placeholder + plainHead + "Authorization: Bearer " + placeholder + "\n\n",
		"GET /" + placeholder + plainHead + "X-Api-Key: " + placeholder + "\nX-Other: " + placeholder + "\n\n",
		jsonHead + "40\n\n" + `{"auth":{"token":"PLACEHOLDER-login"}}  `,
		formHead + "31\n\nclient_secret=PLACEHOLDER-login",
	} {
		for _, to := range []string{host, "login.example.com", "other.example.com"} {
			f.Add(in, to, uint16(443), true)
			f.Add(in, to, uint16(8443), true)
			f.Add(in, to, uint16(443), false)
		}
	}
	s := lab(f)
	f.Fuzz(func(t *testing.T, raw, to string, port uint16, secure bool) {
		r, err := http.ReadRequest(reading(strings.ReplaceAll(raw, "\n", "\r\n")))
		if err != nil {
			return
		}
		asked := 0
		_, err = s.Outgoing(t.Context(), to, port, secure, r, func(context.Context, string, string) error { asked++; return nil })
		if err != nil {
			refused(t, err, fault.Denied, "", token)
			return
		}
		allowed := 0
		if secure && s.Bound(to, port) {
			allowed = asked
		} else if asked > 0 {
			t.Fatalf("%d uses towards %s:%d, TLS %t", asked, to, port, secure)
		}
		for _, place := range []func(){
			func() { r.Header.Del("Authorization") }, func() { r.Header.Del("X-Api-Key") },
			func() { q := r.URL.Query(); q.Del("key"); r.URL.RawQuery = q.Encode() },
		} {
			if canonicalHost(to) == host {
				place()
			}
		}
		head := r.URL.String() + r.Host + strings.Join(flat(r.Header), "\n")
		if canonicalHost(to) != "login.example.com" && canonicalHost(to) != "git.example.com" && string(s.Scrub([]byte(head))) != head {
			t.Fatalf("the value is out of its place: %q", head)
		}
		if r.Body != nil {
			b, _ := io.ReadAll(io.LimitReader(r.Body, 1<<20))
			if string(s.Scrub(b)) != string(b) && allowed == 0 {
				t.Fatalf("the value is in a body for %s:%d: %q", to, port, b)
			}
		}
	})
}

func flat(h http.Header) []string {
	var out []string
	for k, vs := range h {
		out = append(out, k)
		out = append(out, vs...)
	}
	return out
}
