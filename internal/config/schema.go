package config

import (
	"encoding/json"
	"fmt"
	"strings"

	"sallyport/internal/fault"
)

// Schema gives the JSON Schema (draft 2020-12) of "config" (sallyport.yaml),
// "agent" (an agent file) or "profile" (a file of profiles/ in the state
// directory). It is made from the tables that check the files, so it accepts
// what they accept, apart from templates and relations between keys.
// Any other name is an error of kind fault.Usage.
func Schema(which string) ([]byte, error) {
	var s map[string]any
	switch which {
	case "config":
		s = schemaOf(configSpec())
		s["title"] = "sallyport.yaml"
	case "profile":
		s = schemaOf(profileSpec())
		s["title"] = "Profile file"
	case "agent":
		s = agentSchema()
	default:
		return nil, fault.New("config.schema", fault.Usage, "there is no schema called %q; use config, agent or profile", short(which))
	}
	s["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	out, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return nil, fault.Wrap("config.schema", fault.Internal, err)
	}
	return append(out, '\n'), nil
}

func agentSchema() map[string]any {
	first, now := agentSpec(Dialect2024), agentSpec(DialectNow)
	s := schemaOf(first)
	s["title"] = "Agent file"
	delete(s, "required")
	// A key of one's own may stand in the file when the prompt uses it.
	s["additionalProperties"] = map[string]any{"type": []string{"string", "number", "boolean"}}
	props, _ := s["properties"].(map[string]any)
	props["dialect"] = map[string]any{"description": first.field("dialect").doc, "enum": []int{Dialect2024, DialectNow}, "default": Dialect2024}
	isNow := map[string]any{"properties": map[string]any{"dialect": map[string]any{"const": DialectNow}}, "required": []string{"dialect"}}
	s["if"] = isNow
	s["then"] = map[string]any{
		"required": now.required,
		"properties": map[string]any{
			"debugPauseSeconds": schemaOf(now.field("debugPauseSeconds")), "webModel": false,
		},
	}
	s["else"] = map[string]any{"required": first.required}
	return s
}

func schemaOf(s *spec) map[string]any {
	out := map[string]any{"description": s.doc}
	if s.later {
		// Known, but refused: an editor can strike it through.
		out["deprecated"] = true
		out["description"] = s.doc + " Not yet enforced by this release, and therefore refused."
	}
	switch s.kind {
	case sGroup:
		schemaGroup(s, out)
	case sDict:
		out["type"] = "object"
		out["additionalProperties"] = schemaOf(s.elem)
		if s.keys != nil {
			out["propertyNames"] = map[string]any{"pattern": s.keys.String()}
		} else if len(s.keyEnum) > 0 {
			out["propertyNames"] = map[string]any{"enum": s.keyEnum}
		}
	case sList:
		out["type"] = "array"
		out["items"] = schemaOf(s.elem)
		if s.max > 0 {
			out["minItems"], out["maxItems"] = int(s.min), int(s.max)
		}
	case sBool:
		out["type"] = "boolean"
		if s.laterIf != nil {
			out["const"] = false
		}
	case sText:
		schemaText(s, out)
	case sInt, sNumber, sBytes:
		schemaNumber(s, out)
	}
	if s.nullable {
		out["type"] = []any{out["type"], "null"}
	}
	return out
}

func schemaGroup(s *spec, out map[string]any) {
	props := make(map[string]any, len(s.fields))
	for _, f := range s.fields {
		props[f.name] = schemaOf(f.spec)
	}
	out["type"], out["properties"], out["additionalProperties"] = "object", props, false
	if len(s.required) > 0 {
		out["required"] = s.required
	}
}

func schemaText(s *spec, out map[string]any) {
	out["type"] = "string"
	switch {
	case len(s.enum) > 0 && s.fold:
		out["pattern"] = fmt.Sprintf("^(%s)$", anyCase(s.enum))
	case len(s.enum) > 0:
		out["enum"] = s.enum
	case s.pattern != nil:
		out["pattern"] = s.pattern.String()
	}
}

func schemaNumber(s *spec, out map[string]any) {
	switch s.kind {
	case sNumber:
		out["type"] = "number"
	case sBytes:
		out["type"] = []string{"integer", "string"}
		out["pattern"] = "^[0-9]+ *([KMGT]iB)?$"
	default:
		out["type"] = "integer"
	}
	if s.max == 0 {
		return
	}
	out["maximum"] = s.max
	if s.exclusive {
		out["exclusiveMinimum"] = s.min
	} else {
		out["minimum"] = s.min
	}
}

// anyCase spells words so that a pattern matches them in any case.
func anyCase(words []string) string {
	var out strings.Builder
	for i, w := range words {
		if i > 0 {
			out.WriteByte('|')
		}
		for _, r := range w {
			fmt.Fprintf(&out, "[%c%c]", r, r-'a'+'A')
		}
	}
	return out.String()
}
