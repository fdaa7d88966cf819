package modelserver

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// Tool is a tool that a request offers to the model.
type Tool struct {
	Name   string
	Schema map[string]any // of its arguments, as JSON Schema; nil for free text
	Help   string
}

// offer is a tool as any of the forms writes it.
type offer struct {
	Type         string         `json:"type"`
	Name         string         `json:"name"`
	Description  string         `json:"description"`
	Parameters   map[string]any `json:"parameters"`
	JSONSchema   map[string]any `json:"parametersJsonSchema"` // Gemini's other field
	Input        map[string]any `json:"input_schema"`         // Anthropic
	Function     *offer         `json:"function"`             // OpenAI chat completions
	Declarations []offer        `json:"functionDeclarations"` // Gemini
	Tools        []offer        `json:"tools"`                // a namespace of OpenAI responses
}

func (o offer) tools() []Tool {
	var out []Tool
	inner := append(append([]offer{}, o.Declarations...), o.Tools...)
	if o.Function != nil {
		inner = append(inner, *o.Function)
	}
	for _, i := range inner {
		out = append(out, i.tools()...)
	}
	if o.Name != "" && o.Type != "namespace" {
		schema := o.Parameters
		for _, other := range []map[string]any{o.JSONSchema, o.Input} {
			if schema == nil {
				schema = other
			}
		}
		out = append(out, Tool{o.Name, schema, o.Description})
	}
	return out
}

// Tools gives the tools that a request offers, whatever its form is.
func (r Request) Tools() []Tool {
	var body struct {
		Tools []offer         `json:"tools"`
		Input json.RawMessage `json:"input"`
	}
	if json.Unmarshal(r.Body, &body) != nil {
		return nil
	}
	out := offer{Tools: body.Tools}.tools()
	// Codex offers tools in an item of the conversation too.
	var items []struct {
		Type  string          `json:"type"`
		Tools json.RawMessage `json:"tools"`
	}
	_ = json.Unmarshal(body.Input, &items) // it may be a text
	for _, item := range items {
		var tools []offer
		if item.Type == "additional_tools" && json.Unmarshal(item.Tools, &tools) == nil {
			out = append(out, offer{Tools: tools}.tools()...)
		}
	}
	return out
}

// shellNames are what agents call the tool that runs a command.
var shellNames = []string{"Bash", "run_shell_command", "exec_command", "shell_command", "shell", "bash", "execute_command"}

// Shell gives a call of the request's own shell tool that runs command. False
// means that the request offers none: it is not a turn of the agent, but a
// title, a summary or the like.
func (r Request) Shell(command string) (Call, bool) {
	for _, t := range r.Tools() {
		if t.Name == "exec" && t.Schema == nil && strings.Contains(t.Help, "tools.exec_command") {
			// Codex's tool takes a program that calls tools.
			return Call{Name: t.Name, Custom: true, Args: fmt.Sprintf("text(await tools.exec_command({cmd: %s}))", text(command))}, true
		}
		if !slices.Contains(shellNames, t.Name) {
			continue
		}
		properties, _ := t.Schema["properties"].(map[string]any)
		args := map[string]any{}
		// What a schema requires besides gets a value of its type.
		required, _ := t.Schema["required"].([]any)
		for _, name := range required {
			if s, ok := name.(string); ok {
				args[s] = filler(properties[s])
			}
		}
		for _, name := range []string{"command", "cmd"} {
			p, ok := properties[name].(map[string]any)
			if !ok {
				continue
			}
			if args[name] = any(command); p["type"] == "array" {
				args[name] = []string{"bash", "-c", command}
			}
			return Call{Name: t.Name, Args: text(args)}, true
		}
	}
	return Call{}, false
}

func filler(schema any) any {
	s, _ := schema.(map[string]any)
	switch s["type"] {
	case "boolean":
		return false
	case "integer", "number":
		return 0
	case "array":
		return []any{}
	case "object":
		return map[string]any{}
	}
	return "run the command"
}

// listing answers what clients ask besides: which models there are, how many
// tokens a text has, and where it lies in a space.
func listing(method, path string) (object, bool) {
	models := []string{"fake"}
	switch {
	case method == "GET" && strings.HasSuffix(path, "/models") && strings.Contains(path, "v1beta"):
		list := []object{}
		for _, m := range models {
			list = append(list, object{"name": "models/" + m, "inputTokenLimit": 1 << 20, "supportedGenerationMethods": []string{"generateContent", "countTokens"}})
		}
		return object{"models": list}, true
	case method == "GET" && strings.HasSuffix(path, "/models"):
		list := []object{}
		for _, m := range models {
			list = append(list, object{"id": m, "object": "model", "type": "model", "display_name": m, "owned_by": "fake", "created": 0, "created_at": "2026-01-01T00:00:00Z"})
		}
		// OpenAI, Anthropic and Codex read one field each.
		return object{"object": "list", "data": list, "has_more": false, "models": []object{}}, true
	case method == "POST" && strings.HasSuffix(path, "/messages/count_tokens"):
		return object{"input_tokens": 100}, true
	case method == "POST" && strings.HasSuffix(path, "/embeddings"):
		return object{
			"object": "list", "model": "fake", "usage": object{"prompt_tokens": 7, "total_tokens": 7},
			"data": []object{{"object": "embedding", "index": 0, "embedding": []float64{0.25, -0.5}}},
		}, true
	case method == "POST" && strings.HasSuffix(path, ":embedContent"):
		return object{"embedding": object{"values": []float64{0.25, -0.5}}}, true
	case method == "POST" && strings.HasSuffix(path, ":batchEmbedContents"):
		return object{"embeddings": []object{{"values": []float64{0.25, -0.5}}}}, true
	case method == "POST" && strings.HasSuffix(path, ":countTokens"):
		return object{"totalTokens": 100}, true
	}
	return nil, false
}
