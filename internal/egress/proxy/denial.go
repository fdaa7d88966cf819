package proxy

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"

	"sallyport/internal/fault"
)

// DeniedHeader names the rule in an answer that refuses.
const DeniedHeader = "X-Sallyport-Denied"

// sayDenied answers a request that was refused or cannot be served, in a form its program understands: one sentence, as JSON if that is
// what it prefers.
func sayDenied(w http.ResponseWriter, r *http.Request, err error) {
	status := statusOf(err)
	text := fault.PublicText(err)
	h := w.Header()
	clear(h)
	if status != http.StatusBadGateway {
		h.Set(DeniedHeader, clip(ruleOf(err)))
	}
	h.Set("X-Content-Type-Options", "nosniff")
	body := "sallyport: " + text + "\n"
	if prefersJSON(r) {
		h.Set("Content-Type", "application/json")
		b, jsonErr := json.Marshal(map[string]any{"error": map[string]string{
			"type": fault.KindOf(err).String(), "rule": clip(ruleOf(err)), "message": "sallyport: " + text,
		}})
		if jsonErr == nil {
			body = string(b) + "\n"
		}
	} else {
		h.Set("Content-Type", "text/plain; charset=utf-8")
	}
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = io.WriteString(w, body) //nolint:gosec // text/plain or JSON with nosniff; who asked may be gone
}

// statusOf is 403 for what was refused. A WebSocket that could be plain requests
// is answered as RFC 9110 has it for a protocol that is required: clients that
// know both fall back at once.
func statusOf(err error) int {
	if ruleOf(err) == ruleWebSocket {
		return http.StatusUpgradeRequired
	}
	switch fault.KindOf(err) {
	case fault.Denied, fault.NeedsAsk, fault.Budget, fault.Canceled:
		return http.StatusForbidden
	default:
		return http.StatusBadGateway
	}
}

func ruleOf(err error) string {
	if r, ok := errors.AsType[Ruled](err); ok && r.Rule() != "" {
		return r.Rule()
	}
	return fault.KindOf(err).String()
}

// prefersJSON looks at the first type a program accepts.
func prefersJSON(r *http.Request) bool {
	first, _, _ := strings.Cut(r.Header.Get("Accept"), ",")
	kind, _, _ := strings.Cut(strings.ToLower(first), ";")
	kind = strings.TrimSpace(kind)
	return kind == "application/json" || strings.HasSuffix(kind, "+json")
}

// clip makes foreign text short and printable.
func clip(s string) string {
	if len(s) > 200 {
		s = s[:200] + "..."
	}
	q := strconv.QuoteToASCII(s)
	return q[1 : len(q)-1]
}
