package main

import (
	"context"
	"errors"
	"net/http"

	"github.com/anthropics/anthropic-sdk-go"
	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
	"github.com/openai/openai-go/v3/packages/param"
	"github.com/openai/openai-go/v3/responses"
	"google.golang.org/genai"
)

// detail is what an SDK's error holds besides its text.
func detail(err error) string {
	var oe *openai.Error
	var ae *anthropic.Error
	var ge genai.APIError
	switch {
	case errors.As(err, &oe):
		return oe.RawJSON()
	case errors.As(err, &ae):
		return ae.RawJSON()
	case errors.As(err, &ge):
		return ge.Message
	}
	return ""
}

func openAI(client *http.Client, base, key string) openai.Client {
	return openai.NewClient(option.WithBaseURL(base+"/v1/"), option.WithAPIKey(key), option.WithHTTPClient(client))
}

// chat talks Chat Completions.
func chat(a *agent, client *http.Client, base, key string, how mode) (conversation, error) {
	c := openAI(client, base, key)
	body := openai.ChatCompletionNewParams{
		Model:    "gpt-test",
		Messages: []openai.ChatCompletionMessageParamUnion{openai.UserMessage(prompt)},
		Tools: []openai.ChatCompletionToolUnionParam{openai.ChatCompletionFunctionTool(openai.FunctionDefinitionParam{
			Name: "run", Description: openai.String(help), Parameters: schema,
		})},
	}
	if how == "stream" {
		body.StreamOptions.IncludeUsage = openai.Bool(true)
	}
	return func(ctx context.Context) (turn, error) {
		done, err := complete(ctx, a, c, body, how.stream())
		if err != nil {
			return turn{}, err
		}
		if len(done.Choices) == 0 {
			return turn{}, errors.New("the reply has no choices")
		}
		t := turn{text: done.Choices[0].Message.Content}
		body.Messages = append(body.Messages, done.Choices[0].Message.ToParam())
		for _, choice := range done.Choices {
			for _, call := range choice.Message.ToolCalls {
				t.calls++
				out := a.run(call.ID, call.Function.Name, call.Function.Arguments)
				if choice.Index == 0 {
					body.Messages = append(body.Messages, openai.ToolMessage(out, call.ID))
				}
			}
		}
		if u := done.Usage; done.JSON.Usage.Valid() || u.TotalTokens > 0 {
			t.usage = map[string]int64{
				"prompt_tokens": u.PromptTokens, "completion_tokens": u.CompletionTokens, "total_tokens": u.TotalTokens,
				"cached_tokens": u.PromptTokensDetails.CachedTokens, "reasoning_tokens": u.CompletionTokensDetails.ReasoningTokens,
			}
		}
		return t, nil
	}, nil
}

func complete(ctx context.Context, a *agent, c openai.Client, body openai.ChatCompletionNewParams, stream bool) (*openai.ChatCompletion, error) {
	if !stream {
		return c.Chat.Completions.New(ctx, body)
	}
	s := c.Chat.Completions.NewStreaming(ctx, body)
	var acc openai.ChatCompletionAccumulator
	for s.Next() {
		if !acc.AddChunk(s.Current()) {
			return nil, errors.New("the chunks do not fit together")
		}
		if f, ok := acc.JustFinishedToolCall(); ok {
			a.run(f.ID, f.Name, f.Arguments)
		}
	}
	return &acc.ChatCompletion, s.Err()
}

// respond talks Responses.
func respond(a *agent, client *http.Client, base, key string, how mode) (conversation, error) {
	c := openAI(client, base, key)
	items := responses.ResponseInputParam{responses.ResponseInputItemParamOfMessage(prompt, responses.EasyInputMessageRoleUser)}
	body := responses.ResponseNewParams{
		Model: "gpt-test",
		Tools: []responses.ToolUnionParam{{OfFunction: &responses.FunctionToolParam{
			Name: "run", Description: openai.String(help), Parameters: schema, Strict: openai.Bool(false),
		}}},
	}
	return func(ctx context.Context) (turn, error) {
		body.Input = responses.ResponseNewParamsInputUnion{OfInputItemList: items}
		done, err := response(ctx, a, c, body, how.stream())
		if err != nil {
			return turn{}, err
		}
		t := turn{text: done.OutputText()}
		for _, item := range done.Output {
			// Every item goes back as it came.
			items = append(items, param.Override[responses.ResponseInputItemUnionParam](rawJSON(item.RawJSON())))
			if item.Type == "function_call" {
				t.calls++
				f := item.AsFunctionCall()
				out := responses.ResponseInputItemParamOfFunctionCallOutput(a.run(f.CallID, f.Name, f.Arguments))
				out.OfFunctionCallOutput.CallID = openai.String(f.CallID)
				items = append(items, out)
			}
		}
		if u := done.Usage; done.JSON.Usage.Valid() {
			t.usage = map[string]int64{
				"input_tokens": u.InputTokens, "output_tokens": u.OutputTokens, "total_tokens": u.TotalTokens,
				"cached_tokens": u.InputTokensDetails.CachedTokens, "reasoning_tokens": u.OutputTokensDetails.ReasoningTokens,
			}
		}
		return t, nil
	}, nil
}

func response(ctx context.Context, a *agent, c openai.Client, body responses.ResponseNewParams, stream bool) (*responses.Response, error) {
	if !stream {
		return c.Responses.New(ctx, body)
	}
	s := c.Responses.NewStreaming(ctx, body)
	begun := map[string]responses.ResponseOutputItemUnion{}
	var done *responses.Response
	for s.Next() {
		switch e := s.Current().AsAny().(type) {
		case responses.ResponseOutputItemAddedEvent:
			begun[e.Item.ID] = e.Item
		case responses.ResponseFunctionCallArgumentsDoneEvent:
			if item, ok := begun[e.ItemID]; ok {
				a.run(item.CallID, item.Name, e.Arguments)
			}
		case responses.ResponseOutputItemDoneEvent:
			if e.Item.Type == "function_call" {
				f := e.Item.AsFunctionCall()
				a.run(f.CallID, f.Name, f.Arguments)
			}
		case responses.ResponseCompletedEvent:
			done = &e.Response
		case responses.ResponseFailedEvent:
			return nil, errors.New(e.Response.Error.Message)
		}
	}
	if s.Err() == nil && done == nil {
		return nil, errors.New("the stream ended without a response")
	}
	return done, s.Err()
}
