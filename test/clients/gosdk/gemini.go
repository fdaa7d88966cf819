package main

import (
	"context"
	"encoding/json"
	"iter"
	"net/http"

	"google.golang.org/genai"
)

// generate talks Gemini's generateContent.
func generate(a *agent, client *http.Client, base, key string, how mode) (conversation, error) {
	c, err := genai.NewClient(context.Background(), &genai.ClientConfig{
		APIKey: key, Backend: genai.BackendGeminiAPI, HTTPClient: client, HTTPOptions: genai.HTTPOptions{BaseURL: base},
	})
	if err != nil {
		return nil, err
	}
	config := &genai.GenerateContentConfig{Tools: []*genai.Tool{{FunctionDeclarations: []*genai.FunctionDeclaration{
		{Name: "run", Description: help, ParametersJsonSchema: schema},
	}}}}
	contents := []*genai.Content{genai.NewContentFromText(prompt, genai.RoleUser)}
	return func(ctx context.Context) (turn, error) {
		t := turn{}
		said, results := &genai.Content{Role: genai.RoleModel}, &genai.Content{Role: genai.RoleUser}
		hear := func(r *genai.GenerateContentResponse) {
			if u := r.UsageMetadata; u != nil {
				t.usage = map[string]int64{
					"promptTokenCount": int64(u.PromptTokenCount), "candidatesTokenCount": int64(u.CandidatesTokenCount), "totalTokenCount": int64(u.TotalTokenCount),
					"cachedContentTokenCount": int64(u.CachedContentTokenCount), "thoughtsTokenCount": int64(u.ThoughtsTokenCount),
				}
			}
			for _, candidate := range r.Candidates {
				if candidate.Content != nil {
					t.calls += a.parts(candidate, said, results, &t.text)
				}
			}
		}
		pieces := c.Models.GenerateContentStream
		if !how.stream() {
			pieces = whole(c)
		}
		for r, err := range pieces(ctx, "gemini-test", contents, config) {
			if err != nil {
				return turn{}, err
			}
			hear(r)
		}
		contents = append(contents, said)
		if t.calls > 0 {
			contents = append(contents, results)
		}
		return t, nil
	}, nil
}

// whole gives a reply that comes at once in the form of one that is streamed.
func whole(c *genai.Client) func(context.Context, string, []*genai.Content, *genai.GenerateContentConfig) iter.Seq2[*genai.GenerateContentResponse, error] {
	return func(ctx context.Context, model string, contents []*genai.Content, config *genai.GenerateContentConfig) iter.Seq2[*genai.GenerateContentResponse, error] {
		return func(yield func(*genai.GenerateContentResponse, error) bool) {
			yield(c.Models.GenerateContent(ctx, model, contents, config))
		}
	}
}

// parts runs what a candidate calls and remembers what it says; it gives the
// number of calls.
func (a *agent) parts(candidate *genai.Candidate, said, results *genai.Content, text *string) int {
	calls := 0
	for _, p := range candidate.Content.Parts {
		if candidate.Index == 0 {
			said.Parts = append(said.Parts, p)
			if !p.Thought {
				*text += p.Text
			}
		}
		if f := p.FunctionCall; f != nil {
			calls++
			args, err := json.Marshal(f.Args)
			if err != nil {
				continue
			}
			results.Parts = append(results.Parts, &genai.Part{FunctionResponse: &genai.FunctionResponse{
				ID: f.ID, Name: f.Name, Response: map[string]any{"output": a.run(f.ID, f.Name, string(args))},
			}})
		}
	}
	return calls
}
