package credential

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sallyport/internal/fault"
)

func squeezed(t testing.TB, coding, text string) string {
	t.Helper()
	var b bytes.Buffer
	var w io.WriteCloser
	switch coding {
	case "gzip":
		w = gzip.NewWriter(&b)
	case "zlib":
		w = zlib.NewWriter(&b)
	case "flate":
		w, _ = flate.NewWriter(&b, 5)
	}
	_, _ = io.WriteString(w, text)
	_ = w.Close()
	return b.String()
}

// answer reads a response as the proxy's client would.
func answer(t testing.TB, head, body string) *http.Response {
	t.Helper()
	raw := "HTTP/1.1 " + strings.ReplaceAll(head, "\n", "\r\n") + "\r\n\r\n" + body
	resp, err := http.ReadResponse(reading(raw), nil)
	if err != nil {
		t.Fatal(err)
	}
	return resp
}

func TestIncomingScrubs(t *testing.T) {
	dirty, clean := "you sent "+token+" or "+url.QueryEscape(token)+".", "you sent "+placeholder+" or "+placeholder+"."
	for name, c := range map[string]struct{ head, body string }{
		"plain":         {"200 OK\nContent-Length: " + strconv.Itoa(len(dirty)), dirty},
		"to the end":    {"200 OK", dirty},
		"gzip":          {"200 OK\nContent-Encoding: GZIP", squeezed(t, "gzip", dirty)},
		"gzip in parts": {"200 OK\nContent-Encoding: x-gzip", squeezed(t, "gzip", dirty[:15]) + squeezed(t, "gzip", dirty[15:])},
		"deflate":       {"200 OK\nContent-Encoding: deflate", squeezed(t, "zlib", dirty)},
		"bare deflate":  {"200 OK\nContent-Encoding: deflate", squeezed(t, "flate", dirty)},
		"identity":      {"401 Unauthorized\nContent-Encoding: identity", dirty},
		"chunks":        {"200 OK\nTransfer-Encoding: chunked", "c\r\n" + dirty[:12] + "\r\n" + strconv.FormatInt(int64(len(dirty)-12), 16) + "\r\n" + dirty[12:] + "\r\n0\r\nX-T: " + token + "\r\n\r\n"},
	} {
		t.Run(name, func(t *testing.T) {
			resp := answer(t, c.head+"\nSet-Cookie: k="+token+"; Path=/\nLocation: https://x.example/?k="+url.QueryEscape(token)+"\nX-Twice: a\nX-Twice: "+token, c.body) //nolint:bodyclose // it is read from memory
			if err := lab(t).Incoming(host, 443, resp); err != nil {
				t.Fatal(err)
			}
			b, err := io.ReadAll(resp.Body)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(clean, string(b)); diff != "" {
				t.Errorf("body (-want +got):\n%s", diff)
			}
			want := http.Header{"Set-Cookie": {"k=" + placeholder + "; Path=/"}, "Location": {"https://x.example/?k=" + placeholder}, "X-Twice": {"a", placeholder}}
			if diff := cmp.Diff(want, resp.Header); diff != "" {
				t.Errorf("header (-want +got):\n%s", diff)
			}
			if resp.ContentLength != -1 {
				t.Errorf("the length %d is promised", resp.ContentLength)
			}
			if name == "chunks" && resp.Trailer.Get("X-T") != placeholder {
				t.Errorf("trailers: %v", resp.Trailer)
			}
		})
	}
}

func TestIncomingRefuses(t *testing.T) {
	for name, c := range map[string]struct{ head, says string }{
		"brotli":  {"200 OK\nContent-Encoding: br", "gzip or deflate"},
		"zstd":    {"200 OK\nContent-Encoding: zstd", "gzip or deflate"},
		"stacked": {"200 OK\nContent-Encoding: gzip, gzip", "gzip or deflate"},
		"twice":   {"200 OK\nContent-Encoding: gzip\nContent-Encoding: br", "gzip or deflate"},
		"a part":  {"206 Partial Content\nContent-Range: bytes 0-3/9", "a part of a body"},
		"upgrade": {"101 Switching Protocols\nUpgrade: websocket\nConnection: upgrade", "protocol"},
	} {
		t.Run(name, func(t *testing.T) {
			refused(t, lab(t).Incoming(host, 443, answer(t, c.head, token)), fault.Denied, c.says, token) //nolint:bodyclose // it is read from memory
			if err := lab(t).Incoming("other.example.com", 443, answer(t, c.head, token)); err != nil {   //nolint:bodyclose // it is read from memory
				t.Errorf("another host's answer: %v", err)
			}
		})
	}
}

func TestIncomingBrokenBody(t *testing.T) {
	good := squeezed(t, "gzip", strings.Repeat("text ", 1000))
	for name, body := range map[string]string{
		"no gzip": "plain", "cut": good[:len(good)-9], "behind": good + "\x00" + token, "not checked": good[:len(good)-5] + "xxxxx",
	} {
		resp := answer(t, "200 OK\nContent-Encoding: gzip", body) //nolint:bodyclose // it is read from memory
		if err := lab(t).Incoming(host, 443, resp); err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(resp.Body)
		if err == nil || strings.Contains(string(b), token) || strings.Contains(err.Error(), token) {
			t.Errorf("%s: got %d bytes, %v", name, len(b), err)
		}
	}
	resp := answer(t, "200 OK\nContent-Encoding: deflate", squeezed(t, "zlib", "a body")+token) //nolint:bodyclose // it is read from memory
	if err := lab(t).Incoming(host, 443, resp); err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(resp.Body); err == nil || string(b) != "a body" {
		t.Errorf("behind zlib: %q, %v", b, err)
	}
}

// TestIncomingWithoutBody: what speaks of a body that is not there stays.
func TestIncomingWithoutBody(t *testing.T) {
	resp := answer(t, "304 Not Modified\nContent-Length: 7\nEtag: "+token, "") //nolint:bodyclose // it is read from memory
	if err := lab(t).Incoming(host, 443, resp); err != nil {
		t.Fatal(err)
	}
	if resp.Header.Get("Content-Length") != "7" || resp.Header.Get("Etag") != placeholder {
		t.Errorf("header: %v", resp.Header)
	}
	empty := answer(t, "200 OK\nContent-Encoding: gzip\nTransfer-Encoding: chunked", "0\r\n\r\n") //nolint:bodyclose // it is read from memory
	if err := lab(t).Incoming(host, 443, empty); err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(empty.Body); err != nil || len(b) > 0 {
		t.Errorf("an empty body in gzip: %q, %v", b, err)
	}
}

// TestRoundTrip goes over real TLS to a service that repeats what it was sent:
// it gets the value, the agent gets the placeholder, and without us the agent
// would read the value.
func TestRoundTrip(t *testing.T) {
	var got []string
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = append(got, r.Header.Get("X-Api-Key"))
		w.Header().Set("X-Echo", r.Header.Get("X-Api-Key"))
		w.Header().Set("Content-Encoding", "gzip")
		z := gzip.NewWriter(w)
		for _, c := range "invalid key " + r.Header.Get("X-Api-Key") {
			_, _ = z.Write([]byte(string(c)))
			_ = z.Flush()
			_ = http.NewResponseController(w).Flush()
		}
		_ = z.Close()
		w.Header().Set(http.TrailerPrefix+"X-Last", r.Header.Get("X-Api-Key"))
	}))
	defer srv.Close()
	u, err := url.Parse(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	p, err := strconv.ParseUint(u.Port(), 10, 16)
	if err != nil {
		t.Fatal(err)
	}
	s, err := NewSet([]Binding{{
		Name: "k", Host: u.Hostname(), Port: uint16(p), Value: newValue([]byte(token)), Placeholder: placeholder, Places: []Place{{Name: "X-Api-Key"}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	do := func(in, out bool) (head, body, trailer string) {
		r, _ := http.NewRequestWithContext(context.Background(), http.MethodGet, srv.URL, http.NoBody)
		r.Header.Set("X-Api-Key", placeholder)
		if in {
			if _, err := s.Outgoing(t.Context(), u.Hostname(), uint16(p), true, r, yes); err != nil {
				t.Fatal(err)
			}
		}
		resp, err := srv.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }()
		if out {
			if err := s.Incoming(u.Hostname(), uint16(p), resp); err != nil {
				t.Fatal(err)
			}
		} else {
			resp.Body = io.NopCloser(decoder("gzip", resp.Body))
		}
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.Header.Get("X-Echo"), string(b), resp.Trailer.Get("X-Last")
	}
	if _, body, trailer := do(true, false); body != "invalid key "+token || trailer != token {
		t.Fatalf("the attack does not work without us: %q, %q", body, trailer)
	}
	head, body, trailer := do(true, true)
	if diff := cmp.Diff([]string{placeholder, "invalid key " + placeholder, placeholder}, []string{head, body, trailer}); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{token, token}, got); diff != "" {
		t.Errorf("the service got (-want +got):\n%s", diff)
	}
}
