package wire

import (
	"net/http"
	"net/url"
	"strings"
)

// Op is what a request asks a model server to do.
type Op uint8

// The operations.
const (
	Generate Op = iota // a reply of a model
	Count              // tokens of a request, without a reply
	List               // models, or one of them
	Embed              // vectors of texts
	Retrieve           // a stored reply: read, cancel, delete
	Compact            // a shorter form of a conversation
)

var opNames = [...]string{"generate", "count", "list", "embed", "retrieve", "compact"}

// String gives the operation's name in events.
func (o Op) String() string {
	if int(o) < len(opNames) {
		return opNames[o]
	}
	return "unknown"
}

// Route is what method, path and query of a request say.
type Route struct {
	API    API
	Op     Op
	Model  string // from the path: Gemini, and List of one model
	Stream bool   // from the path (Gemini) or the query (a stored response)
	Array  bool   // Gemini's stream as a JSON array, not as events
	ID     string // of a stored response
	// Path follows an upstream's versioned base: "/chat/completions". The
	// version that the client wrote is in Version: "v1", "v1beta", "v1alpha",
	// "" when there was none.
	Path, Version string
}

// RouteOf reads method, escaped path and raw query. It is false for everything
// that is not known to the last byte: such a request must be denied. The models
// of OpenAI and Anthropic have the same path; their Route says Chat and only
// the request's headers can tell them apart.
func RouteOf(method, path, rawQuery string) (Route, bool) {
	segments, ok := split(path)
	query, err := url.ParseQuery(rawQuery)
	if !ok || err != nil || !plain(rawQuery) {
		return Route{}, false
	}
	var r Route
	// SDKs put their own version after a base URL that has one already.
	for range 2 {
		if len(segments) > 0 && (segments[0] == "v1" || segments[0] == "v1beta" || segments[0] == "v1alpha") {
			r.Version, segments = segments[0], segments[1:]
		}
	}
	r.Path = "/" + strings.Join(segments, "/")
	if len(segments) > 0 && segments[0] == "models" {
		return r.models(method, segments[1:], query)
	}
	if r.Version == "v1beta" || r.Version == "v1alpha" {
		return Route{}, false
	}
	if method == http.MethodPost && r.post() {
		return r, true
	}
	return r.stored(method, segments, query)
}

// post knows the paths that have no variable part.
func (r *Route) post() bool {
	switch r.Path {
	case "/chat/completions":
		r.API = Chat
	case "/embeddings":
		r.API, r.Op = Chat, Embed
	case "/responses":
		r.API = Responses
	case "/responses/compact":
		r.API, r.Op = Responses, Compact
	case "/responses/input_tokens":
		r.API, r.Op = Responses, Count
	case "/messages":
		r.API = Messages
	case "/messages/count_tokens":
		r.API, r.Op = Messages, Count
	default:
		return false
	}
	return true
}

// stored knows /responses/ID, its cancel and its input_items.
func (r Route) stored(method string, segments []string, query url.Values) (Route, bool) {
	if len(segments) < 2 || segments[0] != "responses" || segments[1] == "compact" || segments[1] == "input_tokens" {
		return Route{}, false
	}
	r.API, r.Op, r.ID = Responses, Retrieve, segments[1]
	tail := strings.Join(segments[2:], "/")
	switch {
	case tail == "" && (method == http.MethodGet || method == http.MethodDelete):
	case tail == "cancel" && method == http.MethodPost:
	case tail == "input_items" && method == http.MethodGet:
	default:
		return Route{}, false
	}
	switch v := query["stream"]; {
	case len(v) == 0 || len(v) == 1 && v[0] == "false":
	case len(v) == 1 && v[0] == "true" && method == http.MethodGet && tail == "":
		r.Stream = true
	default:
		return Route{}, false
	}
	return r, true
}

// geminiQuery is what may follow a Gemini path: anything else could change the
// form of the reply (callback, $alt, fields) and with it what is read in it.
var geminiQuery = map[string]bool{"alt": true, "key": true, "prettyPrint": true, "pageSize": true, "pageToken": true}

func (r Route) models(method string, segments []string, query url.Values) (Route, bool) {
	if len(segments) > 1 {
		return Route{}, false
	}
	name, verb := "", ""
	if len(segments) == 1 {
		name = segments[0]
		if i := strings.LastIndexByte(name, ':'); i >= 0 && method == http.MethodPost {
			name, verb = name[:i], name[i+1:]
		}
		if name == "" {
			return Route{}, false
		}
	}
	r.Model = name
	if verb == "" {
		r.API, r.Op = Chat, List
		if r.Version == "v1beta" || r.Version == "v1alpha" {
			r.API = Gemini
		}
		return r, method == http.MethodGet
	}
	r.API = Gemini
	for k, v := range query {
		if !geminiQuery[k] || len(v) != 1 {
			return Route{}, false
		}
	}
	alt := query.Get("alt")
	switch verb {
	case "generateContent":
	case "streamGenerateContent":
		r.Stream, r.Array = true, alt != "sse"
	case "countTokens":
		r.Op = Count
	case "embedContent", "batchEmbedContents":
		r.Op = Embed
	default:
		return Route{}, false
	}
	return r, alt == "" || alt == "json" || alt == "sse" && r.Stream
}

// split gives the segments of an absolute path; false if a reader could take
// it for another one: escapes, dots, empty segments, controls.
func split(path string) ([]string, bool) {
	rest, ok := strings.CutPrefix(path, "/")
	if !ok || len(path) > 1024 || !plain(path) || strings.ContainsAny(path, `%\;?#`) {
		return nil, false
	}
	segments := strings.Split(rest, "/")
	for _, s := range segments {
		if s == "" || s == "." || s == ".." {
			return nil, false
		}
	}
	return segments, true
}

// plain reports printable ASCII without spaces.
func plain(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}
