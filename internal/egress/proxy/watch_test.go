package proxy

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

// TestWatch: who takes a request over answers it, and what it sends goes to the
// judged destination alone, with the credential in it and out of the answer.
func TestWatch(t *testing.T) {
	w := newWorld(t, func(c *Config) {
		c.Watch = func(rw http.ResponseWriter, r *http.Request, d Dest, up http.RoundTripper) bool {
			if !strings.HasPrefix(r.URL.Path, "/watched") {
				return false
			}
			out := r.Clone(r.Context())
			out.RequestURI = ""
			out.URL.Host, out.Host = "evil.test", "evil.test" // cannot lead elsewhere
			resp, err := up.RoundTrip(out)
			if err != nil {
				http.Error(rw, err.Error(), http.StatusBadGateway)
				return true
			}
			defer resp.Body.Close()
			body, _ := io.ReadAll(resp.Body)
			fmt.Fprintf(rw, "watched %s: %s", d.Host, body)
			return true
		}
	})
	w.web(func(rw http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		fmt.Fprintf(rw, "%s%s", r.Host, r.URL.Path)
	}, "good.test:80")
	for path, want := range map[string]string{"/plain": "good.test/plain", "/watched": "watched good.test: good.test/watched"} {
		out := say(t, w.dial("198.18.0.1:80"), "POST "+path+" HTTP/1.1\r\nHost: good.test\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc")
		if _, body, _ := strings.Cut(out, "\r\n\r\n"); body != want {
			t.Errorf("%s: %q, want %q", path, out, want)
		}
	}
	w.judge.deny = func(Dest, *RequestInfo) error { return errRule }
	if out := say(t, w.dial("198.18.0.1:80"), "GET /watched HTTP/1.1\r\nHost: good.test\r\nConnection: close\r\n\r\n"); !strings.HasPrefix(out, "HTTP/1.1 403") {
		t.Errorf("a refused request was taken over: %q", out)
	}
}
