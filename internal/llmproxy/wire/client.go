package wire

import (
	"net/http"
	"strings"
)

// Client is a program whose habits decide the form of an answer, never what is
// allowed: whoever claims to be another one is only answered in its way.
type Client string

// The clients that are known. "" is any other.
const (
	ClaudeCode Client = "claude-code"
	Codex      Client = "codex"
	GeminiCLI  Client = "gemini-cli"
	OpenCode   Client = "opencode"
	OpenClaw   Client = "openclaw"
	NAISYS     Client = "naisys"
	SDK        Client = "sdk"
)

// Clients lists the clients that are known.
func Clients() []Client {
	return []Client{ClaudeCode, Codex, GeminiCLI, OpenCode, OpenClaw, NAISYS, SDK}
}

// agents are words of the User-Agent, in the order in which they are looked
// for: agents name themselves beside the SDK that they use.
var agents = []struct {
	word   string
	client Client
}{
	{"claude-cli", ClaudeCode},
	{"claude-code", ClaudeCode},
	{"codex", Codex},
	{"geminicli", GeminiCLI},
	{"gemini-cli", GeminiCLI},
	{"opencode", OpenCode},
	{"openclaw", OpenClaw},
	{"naisys", NAISYS},
	{"openai/", SDK},
	{"anthropic/", SDK},
	{"google-genai-sdk", SDK},
	{"ai-sdk/", SDK},
	{"python-requests", SDK},
}

// ClientOf guesses the client from its User-Agent and its own headers.
func ClientOf(userAgent string, h http.Header, api API) Client {
	words := strings.ToLower(clip(userAgent, 512) + " " + clip(h.Get("Originator"), 128) + " " +
		clip(h.Get("X-Goog-Api-Client"), 256) + " " + clip(h.Get("X-Title"), 128))
	guess := Client("")
	for _, a := range agents {
		if strings.Contains(words, a.word) {
			guess = a.client
			break
		}
	}
	switch {
	case guess == "" && api == Messages && h.Get("X-Claude-Code-Session-Id") != "":
		return ClaudeCode
	case guess == "" && h.Get("X-Stainless-Lang") != "":
		return SDK
	}
	return guess
}

// Refine corrects a guess by the tools that a request offers: some agents use
// an SDK under its own name. NAISYS executes plain text, and OpenClaw stops
// using a key after a 403, so both must be known.
func (q *Request) Refine(c Client) Client {
	if c != "" && c != SDK {
		return c
	}
	has := map[string]bool{}
	for _, t := range q.Tools {
		switch t.Name {
		case "submit_commands", "tool_call", "tool_search", "exec":
			has[t.Name] = true
		}
	}
	switch {
	case has["submit_commands"]:
		return NAISYS
	case has["tool_call"] && has["tool_search"]:
		return OpenClaw
	}
	return c
}
