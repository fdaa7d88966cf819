package agent_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sallyport/internal/agent"
)

func TestSplit(t *testing.T) {
	own := func(dir string) string { return agent.Prompt("sarah", dir, 812, 6000) }
	tests := map[string]struct {
		in   string
		want agent.Piece
	}{
		"empty":                     {"  \n", agent.Piece{Kind: "none"}},
		"plain":                     {"ls -la /etc\n", agent.Piece{Kind: "command", Text: "ls -la /etc"}},
		"plain script":              {"cd /tmp\nls\n", agent.Piece{Kind: "command", Text: "cd /tmp\nls"}},
		"here-document":             {"cat > x <<'EOF'\ncomment \"x\"\nEOF", agent.Piece{Kind: "command", Text: "cat > x <<'EOF'\ncomment \"x\"\nEOF"}},
		"own prompt first":          {own("/home/sarah") + "ls\npwd", agent.Piece{Kind: "prompt", Rest: "ls\npwd"}},
		"own prompt, another place": {own("/etc") + "ls", agent.Piece{Kind: "stray", Text: own("/etc") + "ls"}},
		"own prompt without tokens": {"sarah@sallyport:/home/sarah$ ls", agent.Piece{Kind: "prompt", Rest: "ls"}},
		"own prompt alone":          {"sarah@sallyport:/home/sarah", agent.Piece{Kind: "prompt"}},
		"own prompt mid-reply": {
			"cd /etc\n" + own("/etc") + "ls",
			agent.Piece{Kind: "command", Text: "cd /etc", Rest: own("/etc") + "ls"},
		},
		"own prompt in a line": {
			"ls " + own("/etc") + "pwd",
			agent.Piece{Kind: "command", Text: "ls", Rest: own("/etc") + "pwd"},
		},
		"the address in a command": {
			"scp x sarah@sallyport:/tmp/ && ls",
			agent.Piece{Kind: "command", Text: "scp x sarah@sallyport:/tmp/ && ls"},
		},
		"another agent's prompt": {"steve@sallyport:/etc$ ls", agent.Piece{Kind: "command", Text: "steve@sallyport:/etc$ ls"}},
		"quoted comment": {
			"comment \"first\nsecond \\\"quoted\\\" $(touch x)\nthird\"\nls\npwd",
			agent.Piece{Kind: "command", Text: "comment \"first\nsecond \\\"quoted\\\" $(touch x)\nthird\"", Rest: "ls\npwd"},
		},
		"quoted comment with a prompt in it": {
			"comment \"saw\n" + own("/etc") + "there\" ls",
			agent.Piece{Kind: "command", Text: "comment \"saw\n" + own("/etc") + "there\"", Rest: "ls"},
		},
		"quoted comment joined": {"comment \"a\" && ls", agent.Piece{Kind: "command", Text: "comment \"a\"", Rest: "ls"}},
		"escaped backslash":     {"comment \"a\\\\\" ls", agent.Piece{Kind: "command", Text: "comment \"a\\\\\"", Rest: "ls"}},
		"unclosed quote":        {"comment \"a\nls", agent.Piece{Kind: "command", Text: "comment \"a", Rest: "ls\n"}},
		"unquoted comment":      {"comment I look around\nls\npwd", agent.Piece{Kind: "command", Text: "comment I look around", Rest: "ls\npwd\n"}},
		"comment with apostrophe": {
			"comment it's fine\nls", agent.Piece{Kind: "command", Text: "comment it's fine", Rest: "ls\n"},
		},
		"note": {
			"endsession \"a\nb\"\nls", agent.Piece{Kind: "command", Text: "endsession \"a\nb\"", Rest: "ls"},
		},
		"pause": {"pause 60\nls", agent.Piece{Kind: "command", Text: "pause 60", Rest: "ls\n"}},
		"not a comment": {
			"commentary \"x\"\nls", agent.Piece{Kind: "command", Text: "commentary \"x\"\nls"},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, agent.SplitReply(tt.in, "sarah", "/home/sarah")); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// FuzzSplit: every reply is used up in finitely many steps, every step runs
// text of the reply in its order, and nothing of it is run after a stray prompt.
func FuzzSplit(f *testing.F) {
	for _, s := range []string{
		"ls", "comment \"a\\\"b\" && ls\nsarah@sallyport:/x$ pwd", "sarah@sallyport:/home/sarah [Tokens: 1/2]$ ls",
		"comment \"", "endsession", "pause 1\n\nx", "a\x00b\nsarah@sallyport:", "```\nls\n```",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, reply string) {
		rest := reply
		for steps := 0; ; steps++ {
			if steps > len(reply)+1 {
				t.Fatalf("no end with %q left", rest)
			}
			p := agent.SplitReply(rest, "sarah", "/home/sarah")
			if p.Kind == "none" {
				return
			}
			if p.Text != "" && !strings.Contains(rest, p.Text) {
				t.Fatalf("%q is no part of %q", p.Text, rest)
			}
			if p.Kind == "command" && p.Text == "" {
				t.Fatalf("an empty command from %q", rest)
			}
			if p.Kind == "stray" && p.Rest != "" {
				t.Fatalf("%q would run after a stray prompt", p.Rest)
			}
			if len(p.Rest) > len(rest) {
				t.Fatalf("%q grew to %q", rest, p.Rest)
			}
			rest = p.Rest
		}
	})
}

func TestUnquote(t *testing.T) {
	for in, want := range map[string]string{
		`"a"`: "a", `a`: "a", `"a\"b"`: `a"b`, `"a\\"`: `a\`, `"`: `"`, `""`: "", `"$(id) \n"`: `$(id) \n`, `it's`: "it's",
	} {
		if got := agent.Unquote(in); got != want {
			t.Errorf("%s: %q, want %q", in, got, want)
		}
	}
}
