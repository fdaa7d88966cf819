package main

import (
	"context"
	"encoding/json"
	"net/http"

	"github.com/anthropics/anthropic-sdk-go"
	"github.com/anthropics/anthropic-sdk-go/option"
)

// rawJSON is JSON that goes out as it is.
func rawJSON(s string) json.RawMessage { return json.RawMessage(s) }

// message talks Messages.
func message(a *agent, client *http.Client, base, key string, how mode) (conversation, error) {
	c := anthropic.NewClient(option.WithBaseURL(base), option.WithAPIKey(key), option.WithHTTPClient(client))
	body := anthropic.MessageNewParams{
		Model: "claude-test", MaxTokens: 1000,
		Messages: []anthropic.MessageParam{anthropic.NewUserMessage(anthropic.NewTextBlock(prompt))},
		Tools: []anthropic.ToolUnionParam{{OfTool: &anthropic.ToolParam{
			Name: "run", Description: anthropic.String(help),
			InputSchema: anthropic.ToolInputSchemaParam{Properties: schema["properties"], Required: []string{"command"}},
		}}},
	}
	return func(ctx context.Context) (turn, error) {
		done, err := say(ctx, a, c, body, how.stream())
		if err != nil {
			return turn{}, err
		}
		t := turn{}
		var results []anthropic.ContentBlockParamUnion
		for _, b := range done.Content {
			switch b.Type {
			case "text":
				t.text += b.Text
			case "tool_use":
				t.calls++
				results = append(results, anthropic.NewToolResultBlock(b.ID, a.run(b.ID, b.Name, string(b.Input)), false))
			}
		}
		body.Messages = append(body.Messages, done.ToParam())
		if len(results) > 0 {
			body.Messages = append(body.Messages, anthropic.NewUserMessage(results...))
		}
		if u := done.Usage; done.JSON.Usage.Valid() || u.OutputTokens > 0 {
			t.usage = map[string]int64{
				"input_tokens": u.InputTokens, "output_tokens": u.OutputTokens, "thinking_tokens": u.OutputTokensDetails.ThinkingTokens,
				"cache_read_input_tokens": u.CacheReadInputTokens, "cache_creation_input_tokens": u.CacheCreationInputTokens,
			}
		}
		return t, nil
	}, nil
}

func say(ctx context.Context, a *agent, c anthropic.Client, body anthropic.MessageNewParams, stream bool) (*anthropic.Message, error) {
	if !stream {
		return c.Messages.New(ctx, body)
	}
	s := c.Messages.NewStreaming(ctx, body)
	var done anthropic.Message
	for s.Next() {
		e := s.Current()
		if err := done.Accumulate(e); err != nil {
			return nil, err
		}
		if e.Type == "content_block_stop" && int(e.Index) < len(done.Content) {
			if b := done.Content[e.Index]; b.Type == "tool_use" {
				a.run(b.ID, b.Name, string(b.Input))
			}
		}
	}
	return &done, s.Err()
}
