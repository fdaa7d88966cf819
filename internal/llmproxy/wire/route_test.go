package wire

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var routeCases = []struct {
	method, path, query string
	want                Route
}{
	{"POST", "/v1/chat/completions", "", Route{API: Chat, Path: "/chat/completions", Version: "v1"}},
	{"POST", "/chat/completions", "", Route{API: Chat, Path: "/chat/completions"}},
	{"POST", "/v1/v1/chat/completions", "api-version=2", Route{API: Chat, Path: "/chat/completions", Version: "v1"}},
	{"POST", "/v1/embeddings", "", Route{API: Chat, Op: Embed, Path: "/embeddings", Version: "v1"}},
	{"GET", "/v1/models", "limit=100", Route{API: Chat, Op: List, Path: "/models", Version: "v1"}},
	{"GET", "/v1/models/ft:gpt:x", "", Route{API: Chat, Op: List, Model: "ft:gpt:x", Path: "/models/ft:gpt:x", Version: "v1"}},
	{"POST", "/v1/responses", "", Route{API: Responses, Path: "/responses", Version: "v1"}},
	{"POST", "/v1/responses/compact", "", Route{API: Responses, Op: Compact, Path: "/responses/compact", Version: "v1"}},
	{"POST", "/v1/responses/input_tokens", "", Route{API: Responses, Op: Count, Path: "/responses/input_tokens", Version: "v1"}},
	{"GET", "/v1/responses/resp_1", "", Route{API: Responses, Op: Retrieve, ID: "resp_1", Path: "/responses/resp_1", Version: "v1"}},
	{"GET", "/v1/responses/resp_1", "stream=true", Route{API: Responses, Op: Retrieve, ID: "resp_1", Stream: true, Path: "/responses/resp_1", Version: "v1"}},
	{"DELETE", "/v1/responses/resp_1", "", Route{API: Responses, Op: Retrieve, ID: "resp_1", Path: "/responses/resp_1", Version: "v1"}},
	{"POST", "/v1/responses/resp_1/cancel", "", Route{API: Responses, Op: Retrieve, ID: "resp_1", Path: "/responses/resp_1/cancel", Version: "v1"}},
	{"POST", "/v1/messages", "beta=true", Route{API: Messages, Path: "/messages", Version: "v1"}},
	{"POST", "/v1/messages/count_tokens", "beta=true", Route{API: Messages, Op: Count, Path: "/messages/count_tokens", Version: "v1"}},
	{"POST", "/v1beta/models/gemini-3:generateContent", "", Route{API: Gemini, Model: "gemini-3", Path: "/models/gemini-3:generateContent", Version: "v1beta"}},
	{"POST", "/v1/models/gemini-3:generateContent", "key=x", Route{API: Gemini, Model: "gemini-3", Path: "/models/gemini-3:generateContent", Version: "v1"}},
	{"POST", "/v1beta/v1beta/models/m:streamGenerateContent", "alt=sse", Route{API: Gemini, Model: "m", Stream: true, Path: "/models/m:streamGenerateContent", Version: "v1beta"}},
	{"POST", "/v1beta/models/m:streamGenerateContent", "", Route{API: Gemini, Model: "m", Stream: true, Array: true, Path: "/models/m:streamGenerateContent", Version: "v1beta"}},
	{"POST", "/v1beta/models/m:countTokens", "", Route{API: Gemini, Op: Count, Model: "m", Path: "/models/m:countTokens", Version: "v1beta"}},
	{"POST", "/v1beta/models/m:batchEmbedContents", "", Route{API: Gemini, Op: Embed, Model: "m", Path: "/models/m:batchEmbedContents", Version: "v1beta"}},
	{"GET", "/v1beta/models", "pageSize=5", Route{API: Gemini, Op: List, Path: "/models", Version: "v1beta"}},
}

func TestRouteOf(t *testing.T) {
	for _, c := range routeCases {
		got, ok := RouteOf(c.method, c.path, c.query)
		if !ok {
			t.Errorf("%s %s?%s: not known", c.method, c.path, c.query)
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s %s?%s: %s", c.method, c.path, c.query, diff)
		}
	}
}

var unknownRoutes = [][3]string{
	{"GET", "/v1/chat/completions", ""},
	{"POST", "/v1/chat/completions/", ""},
	{"POST", "/v1//chat/completions", ""},
	{"POST", "//v1/chat/completions", ""},
	{"POST", "/v1/./chat/completions", ""},
	{"POST", "/v1/../v1/chat/completions", ""},
	{"POST", "/v1/chat%2fcompletions", ""},
	{"POST", "/v1/chat%2Fcompletions", ""},
	{"POST", "/v1/%6dessages", ""},
	{"POST", "/v1/chat\\completions", ""},
	{"POST", "/v1/messages\n", ""},
	{"POST", "/v1/messages;x=1", ""},
	{"POST", "/v1/messages\u00e9", ""},
	{"POST", "v1/messages", ""},
	{"POST", "", ""},
	{"POST", "/", ""},
	{"POST", "/v1", ""},
	{"POST", "/v1/v1/v1/messages", ""},
	{"POST", "/v1/messages", "a=%zz"},
	{"POST", "/v1/messages", "a;b"},
	{"POST", "/v1/messages", "a=\r\nX: y"},
	{"POST", "/v1/Messages", ""},
	{"POST", "/v1beta/messages", ""},
	{"POST", "/v1/messages/batches", ""},
	{"POST", "/v1/analytics/events", ""},
	{"POST", "/v1/completions", ""},
	{"GET", "/v1/realtime", ""},
	{"GET", "/v1/responses/..", ""},
	{"GET", "/v1/responses/.", ""},
	{"GET", "/v1/models/a%2fb", ""},
	{"GET", "/v1/models/a%00", ""},
	{"GET", "/v1/models/a;b", ""},
	{"GET", "/v1/responses", ""},
	{"GET", "/v1/responses/compact", ""},
	{"POST", "/v1/responses/resp_1", ""},
	{"GET", "/v1/responses/resp_1/cancel", ""},
	{"GET", "/v1/responses/resp_1", "stream=true&stream=false"},
	{"GET", "/v1/responses/resp_1", "stream=1"},
	{"DELETE", "/v1/models/m", ""},
	{"POST", "/v1beta/models/m:generateContent", "alt=sse"},
	{"POST", "/v1beta/models/m:streamGenerateContent", "alt=sse&alt=json"},
	{"POST", "/v1beta/models/m:streamGenerateContent", "alt=media"},
	{"POST", "/v1beta/models/m:streamGenerateContent", "%24alt=sse"},
	{"POST", "/v1beta/models/m:generateContent", "callback=f"},
	{"POST", "/v1beta/models/:generateContent", ""},
	{"POST", "/v1beta/models/m:predict", ""},
	{"GET", "/v1beta/models/m:generateContent/x", ""},
	{"POST", "/v1/" + strings.Repeat("a", 2000), ""},
}

func TestUnknownRoutes(t *testing.T) {
	for _, c := range unknownRoutes {
		if r, ok := RouteOf(c[0], c[1], c[2]); ok {
			t.Errorf("%s %s?%s: taken for %+v", c[0], c[1], c[2], r)
		}
	}
}

// FuzzRoute: what is known is one of the few shapes, whatever was asked.
func FuzzRoute(f *testing.F) {
	for _, c := range routeCases {
		f.Add(c.method, c.path, c.query)
	}
	for _, c := range unknownRoutes {
		f.Add(c[0], c[1], c[2])
	}
	f.Fuzz(func(t *testing.T, method, path, query string) {
		r, ok := RouteOf(method, path, query)
		if !ok {
			return
		}
		if r.API == Unknown || strings.ContainsAny(path, "%\\\r\n ") || strings.Contains(path, "/.") || strings.Contains(path, "//") {
			t.Fatalf("%q %q %q: %+v", method, path, query, r)
		}
		if !strings.HasSuffix(path, r.Path) || r.Array && !r.Stream {
			t.Fatalf("%q %q %q: %+v", method, path, query, r)
		}
		if (r.Op == List) != (method == "GET" && r.Op == List) || r.Op == Generate && method != "POST" {
			t.Fatalf("%q %q %q: %+v", method, path, query, r)
		}
	})
}
