package app

import (
	"testing"

	"sallyport/internal/action"
	"sallyport/internal/record"
)

// TestQuestion: the row names all that a yes lets pass.
func TestQuestion(t *testing.T) {
	payload := []byte(`{"predicate":{"action":{"args":{"host":"api.test","method":"DELETE","path":"/x","query":"data=stolen"}}}}`)
	for _, tt := range []struct {
		row  record.AskRow
		want string
	}{
		{record.AskRow{Kind: action.NetConnect, Target: "api.test:22"}, "connect to api.test:22?"},
		{record.AskRow{Kind: action.HTTPRequest, Target: "https://api.test/x", Payload: payload}, "DELETE https://api.test/x?data=stolen ?"},
		{record.AskRow{Kind: action.HTTPRequest, Target: "https://api.test/x", Payload: []byte(`{`)}, "(unreadable) https://api.test/x ?"},
		{record.AskRow{Kind: action.Exec, Target: "s", Because: "why"}, "exec s? why"},
	} {
		if got := questionOf(tt.row); got != tt.want {
			t.Errorf("%q, want %q", got, tt.want)
		}
	}
}
