package llmproxy

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"sallyport/internal/fault"
	"sallyport/internal/llmproxy/wire"
)

func packed(kind string, b []byte) []byte {
	var out bytes.Buffer
	var w io.WriteCloser = gzip.NewWriter(&out)
	if kind == "deflate" {
		w = zlib.NewWriter(&out)
	}
	w.Write(b)
	w.Close()
	return out.Bytes()
}

func TestDecode(t *testing.T) {
	plainText := []byte(`{"model":"m"}`)
	zip := packed("gzip", plainText)
	bomb := packed("gzip", make([]byte, 2<<20))
	tests := map[string]struct {
		encoding string
		body     []byte
		status   int // 0 = it is read
	}{
		"none": {"", plainText, 0}, "identity": {"identity", plainText, 0}, "gzip": {"gzip", zip, 0}, "deflate": {"Deflate", packed("deflate", plainText), 0},
		"zstd": {"zstd", plainText, 415}, "two": {"gzip, gzip", zip, 415}, "cut": {"gzip", zip[:len(zip)-3], 400}, "none of it": {"gzip", plainText, 400},
		"second member": {"gzip", append(slices.Clone(zip), zip...), 400}, "bytes behind": {"gzip", append(slices.Clone(zip), 'x'), 400},
		"bomb": {"gzip", bomb, 413}, "checksum": {"gzip", append(slices.Clone(zip[:len(zip)-8]), 1, 2, 3, 4, 13, 0, 0, 0), 400},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			c := Config{MaxBody: 1 << 20}
			c.bounds()
			p := &Proxy{cfg: c, room: newRoom(8 << 20)}
			r := httptest.NewRequest(http.MethodPost, "/v1/messages", bytes.NewReader(tt.body))
			if tt.encoding != "" {
				r.Header.Set("Content-Encoding", tt.encoding)
			}
			w := httptest.NewRecorder()
			x := &exchange{p: p, r: r, w: w, rc: http.NewResponseController(w)}
			h := x.read()
			got := 0
			if h != nil {
				got = h.status
			}
			if got != tt.status || h == nil && !bytes.Equal(x.view, plainText) || !bytes.Equal(x.body, tt.body) {
				t.Errorf("status %d, want %d; view %q", got, tt.status, x.view)
			}
			x.letGo()
			if p.room.left != 8<<20 {
				t.Errorf("%d bytes of memory were not given back", 8<<20-p.room.left)
			}
		})
	}
}

func TestSlurpStaysWithinItsBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.IntRange(0, 300<<10).Draw(t, "size")
		most := rapid.Int64Range(1, 256<<10).Draw(t, "most")
		said := rapid.SampledFrom([]int64{-1, int64(size)}).Draw(t, "said")
		x := &exchange{p: &Proxy{room: newRoom(1 << 20)}}
		b, err := x.slurp(bytes.NewReader(make([]byte, size)), said, most)
		if (err == nil) != (int64(size) <= most) || err == nil && len(b) != size {
			t.Fatalf("%d of %d bytes, at most %d: %v", len(b), size, most, err)
		}
		if int64(cap(b)) > 2*most+firstRead+8192 {
			t.Fatalf("%d bytes of memory for at most %d", cap(b), most)
		}
	})
	x := &exchange{p: &Proxy{room: newRoom(100 << 10)}}
	if _, err := x.slurp(bytes.NewReader(make([]byte, 200<<10)), -1, 1<<20); !errors.Is(err, errNoRoom) {
		t.Errorf("beyond all memory: %v", err)
	}
}

func TestJoinPath(t *testing.T) {
	chat := wire.Route{API: wire.Chat, Path: "/chat/completions"}
	v1 := wire.Route{API: wire.Chat, Path: "/chat/completions", Version: "v1"}
	beta := wire.Route{API: wire.Gemini, Path: "/models/m:generateContent", Version: "v1beta"}
	for _, tt := range []struct {
		base string
		r    wire.Route
		want string
	}{
		{"", v1, "/v1/chat/completions"},
		{"/", chat, "/v1/chat/completions"},
		{"/v1", v1, "/v1/chat/completions"},
		{"/v1/", chat, "/v1/chat/completions"},
		{"/api", v1, "/api/v1/chat/completions"},
		{"/api/v4", v1, "/api/v4/chat/completions"},
		{"/vertex", v1, "/vertex/v1/chat/completions"},
		{"", beta, "/v1beta/models/m:generateContent"},
		{"/v1alpha", beta, "/v1alpha/models/m:generateContent"},
		{"", wire.Route{API: wire.Gemini, Path: "/models"}, "/v1beta/models"},
	} {
		if got := joinPath(tt.base, tt.r); got != tt.want {
			t.Errorf("%q + %v = %q, want %q", tt.base, tt.r, got, tt.want)
		}
	}
}

func TestTakeToken(t *testing.T) {
	tests := map[string]struct {
		headers []string
		query   string
		token   string
		left    string // of the query
	}{
		"bearer":           {[]string{"Authorization", "Bearer t"}, "", "t", ""},
		"any case":         {[]string{"Authorization", "bearer t"}, "", "t", ""},
		"x-api-key":        {[]string{"X-Api-Key", "t"}, "", "t", ""},
		"goog":             {[]string{"X-Goog-Api-Key", "t"}, "", "t", ""},
		"query":            {nil, "alt=sse&key=t&b=%20", "t", "alt=sse&b=%20"},
		"escaped query":    {nil, "k%65y=t&x", "t", "x"},
		"twice the same":   {[]string{"Authorization", "Bearer t", "X-Api-Key", "t"}, "", "t", ""},
		"two":              {[]string{"Authorization", "Bearer t", "X-Api-Key", "u"}, "", "", ""},
		"two in one":       {[]string{"X-Api-Key", "u", "X-Api-Key", "t"}, "", "", ""},
		"two in query":     {nil, "key=a&key=b", "", ""},
		"none":             {nil, "", "", ""},
		"basic":            {[]string{"Authorization", "Basic t"}, "", "", ""},
		"empty":            {[]string{"X-Api-Key", ""}, "", "", ""},
		"long":             {[]string{"X-Api-Key", strings.Repeat("t", maxToken+1)}, "", "", ""},
		"header and query": {[]string{"X-Api-Key", "a"}, "key=b", "", ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r := httptest.NewRequest(http.MethodPost, "/v1/messages?"+tt.query, nil)
			for i := 0; i < len(tt.headers); i += 2 {
				r.Header.Add(tt.headers[i], tt.headers[i+1])
			}
			token, err := takeToken(r)
			if token != tt.token || (err == nil) != (tt.token != "") || err != nil && !fault.Is(err, fault.Denied) {
				t.Errorf("%q, %v, want %q", token, err, tt.token)
			}
			if err != nil {
				return
			}
			for _, h := range credentials {
				if r.Header.Get(h) != "" {
					t.Errorf("%s is still there", h)
				}
			}
			if r.URL.RawQuery != tt.left {
				t.Errorf("query %q, want %q", r.URL.RawQuery, tt.left)
			}
		})
	}
}

func TestLocal(t *testing.T) {
	p := &Proxy{cfg: Config{Hosts: []string{"sally.example"}}}
	for _, tt := range []struct {
		host, origin, site string
		ok                 bool
	}{
		{"127.0.0.1:8080", "", "", true},
		{"localhost:8080", "", "", true},
		{"[::1]:8080", "", "", true},
		{"Sally.Example", "", "", true},
		{"evil.example:8080", "", "", false}, // a name that resolves to us
		{"localhost.evil.example", "", "", false},
		{"127.0.0.1:8080", "http://127.0.0.1:8080", "", true},
		{"127.0.0.1:8080", "http://evil.example", "", false},
		{"127.0.0.1:8080", "null", "", false},
		{"127.0.0.1:8080", "", "cross-site", false},
	} {
		r := httptest.NewRequest(http.MethodPost, "/v1/messages", nil)
		r.Host = tt.host
		if tt.origin != "" {
			r.Header.Set("Origin", tt.origin)
		}
		if tt.site != "" {
			r.Header.Set("Sec-Fetch-Site", tt.site)
		}
		h := p.local(r)
		if (h == nil) != tt.ok || h != nil && h.status != http.StatusForbidden {
			t.Errorf("%+v: %+v", tt, h)
		}
	}
}

// TestHeaders: hop-by-hop fields and the client's keys end here.
func TestHeaders(t *testing.T) {
	r := httptest.NewRequest(http.MethodPost, "/v1/messages", nil)
	for k, v := range map[string]string{
		"Connection": "X-Hop, Keep-Alive", "X-Hop": "1", "Keep-Alive": "1", "Te": "trailers", "Proxy-Authorization": "Basic x", "Transfer-Encoding": "chunked",
		"Authorization": "Bearer mine", "X-Api-Key": "mine", "Cookie": "mine", "Anthropic-Beta": "a,b", "X-Unknown": "kept", "Accept-Encoding": "br",
		"Idempotency-Key": "i", "Host": "x", "Content-Length": "9",
	} {
		r.Header.Set(k, v)
	}
	x := &exchange{r: r, up: Upstream{Credential: keyIn(wire.Messages)}}
	got := x.headers()
	want := http.Header{
		"X-Api-Key": {upstreamKey}, "Anthropic-Beta": {"a,b"}, "X-Unknown": {"kept"}, "Accept-Encoding": {"identity"},
		"idempotency-key": {"i"}, "User-Agent": {""},
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
	x.up.Credential = nil
	if got := x.headers(); got.Get("Authorization") != "Bearer mine" {
		t.Error("a program's own credentials were taken although none replaces them")
	}
}

func FuzzHead(f *testing.F) {
	f.Add("POST", "/v1/messages", "a=b", "Content-Type", "x", "127.0.0.1")
	f.Add("GET", "/v1/models", "key=1&key=2", "Origin", "http://x", "evil")
	f.Add("POST", "/v1/responses", "%zz", "Transfer_Encoding", "chunked\r\n", "[::1")
	p := &Proxy{}
	f.Fuzz(func(t *testing.T, method, path, query, name, value, host string) {
		r := &http.Request{Method: method, URL: &url.URL{Path: path, RawQuery: query}, Header: http.Header{http.CanonicalHeaderKey(name): {value}}, Host: host, ProtoMajor: 1, ProtoMinor: 1}
		_, known := routeOf(r)
		if known != p.Watches(r) {
			t.Fatal("two readings of one path")
		}
		if h := p.local(r); h == nil && !p.knownHost(host) {
			t.Fatal("an unknown host is local")
		}
		_ = ambiguous(r)
		if token, err := takeToken(r); err == nil && (token == "" || strings.Contains(r.URL.RawQuery, "key="+token) && !strings.Contains(r.URL.RawQuery, "="+"key="+token) && r.URL.Query().Get("key") == token) {
			t.Fatalf("token %q is still in %q", token, r.URL.RawQuery)
		}
		x := &exchange{r: r, p: p, w: httptest.NewRecorder()}
		for k := range x.headers() {
			if slices.Contains(hopByHop, k) {
				t.Fatalf("%s travels on", k)
			}
		}
	})
}
