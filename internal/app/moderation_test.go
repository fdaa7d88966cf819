package app

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"sallyport/internal/label"
	"sallyport/internal/llmproxy"
	"sallyport/internal/record"
	"sallyport/internal/scan/screen"
)

// TestModerationIsADestination: a service that moderates is sent no text of a
// context that knows more than it may see.
func TestModerationIsADestination(t *testing.T) {
	var asked atomic.Int32
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		_, _ = io.WriteString(w, `{"id":"m","model":"m","results":[{"flagged":false,"categories":{"hate":false},"category_scores":{"hate":0.0}}]}`)
	}))
	defer s.Close()
	for name, tt := range map[string]struct {
		clearance string
		context   label.Label
		sent      bool
	}{
		"on this machine":           {"", label.New(label.Internal, label.Foreign, 0), true},
		"a secret":                  {"", label.New(label.Secret, label.Member, 0), false},
		"a compartment":             {"", label.New(label.Internal, label.Member, 1), false},
		"cleared":                   {"clearance: secret", label.New(label.Secret, label.Member, 0), true},
		"cleared for what is open":  {"clearance: public", label.New(label.Internal, label.Member, 0), false},
		"a context nobody has made": {"", label.Unlabelled, false},
	} {
		asked.Store(0)
		conf := "moderation: {enabled: true, endpoint: \"" + s.URL + "/v1\", on_error: block}\n"
		if tt.clearance != "" {
			conf += "endpoints:\n  \"" + strings.TrimPrefix(s.URL, "http://") + "\": {" + tt.clearance + "}\n"
		}
		a := atDesk(t, conf)
		in, out, err := a.newModerators(func(_ context.Context, sc record.Scope) (record.Snapshot, error) {
			if sc.Context != "x" {
				t.Errorf("%s: asked about %+v", name, sc)
			}
			return record.Snapshot{Context: tt.context}, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		for _, judge := range []moderator{in, out} {
			v, err := judge(t.Context(), llmproxy.Caller{Agent: "a", Session: "s", Context: "x"}, []string{"a text of " + name})
			if err != nil || (v.Action == screen.Block) == tt.sent {
				t.Errorf("%s: %+v, %v", name, v, err)
			}
		}
		if (asked.Load() > 0) != tt.sent {
			t.Errorf("%s: the service was asked %d times", name, asked.Load())
		}
	}
}
