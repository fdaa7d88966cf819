package config

import (
	"errors"
	"fmt"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// yamlReader turns the parser's tree into nodes.
type yamlReader struct {
	src     *source
	anchors map[string]ast.Node
	count   int
}

func parseYAML(src *source, data []byte) (root *node, err error) {
	// The parser is foreign code that meets untrusted bytes: a defect in it must
	// refuse the file, not end the process.
	defer func() {
		if r := recover(); r != nil {
			root, err = nil, &Error{
				Pos: Position{File: src.name}, Problem: "the YAML reader cannot read this file",
				Remedy: "simplify the file: plain keys, quoted texts, lists",
			}
		}
	}()
	tokens := lexer.Tokenize(string(data))
	if err := checkTokens(src, tokens); err != nil {
		return nil, err
	}
	file, perr := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
	if perr != nil {
		return nil, yamlSyntax(src, perr)
	}
	var body ast.Node
	for _, doc := range file.Docs {
		if doc.Body == nil {
			continue
		}
		if body != nil {
			p := doc.Body.GetToken().Position
			return nil, src.at(p.Line, 1, "", "a second YAML document starts here", "keep one document per file, without ---")
		}
		body = doc.Body
	}
	if body == nil {
		return &node{kind: nNull, line: 1, col: 1}, nil
	}
	y := &yamlReader{src: src, anchors: map[string]ast.Node{}}
	return y.read(body, 0)
}

// checkTokens bounds size and nesting before the parser, whose time and stack
// grow with them, starts.
func checkTokens(src *source, tokens token.Tokens) error {
	if len(tokens) > maxTokens {
		p := tokens[maxTokens].Position
		return src.at(p.Line, p.Column, "", fmt.Sprintf("the file has more than %d tokens", maxTokens), "shorten its lists")
	}
	depth := 0
	for _, t := range tokens {
		switch t.Type {
		case token.MappingStartType, token.SequenceStartType:
			depth++
		case token.MappingEndType, token.SequenceEndType:
			depth--
		default: // everything else does not nest by itself
		}
		if depth > maxDepth {
			return src.at(t.Position.Line, t.Position.Column, "", fmt.Sprintf("nested more than %d levels deep", maxDepth), "flatten it")
		}
	}
	return nil
}

func yamlSyntax(src *source, err error) error {
	problem, line, col := err.Error(), 1, 1
	if ye, ok := errors.AsType[yaml.Error](err); ok {
		problem = ye.GetMessage()
		if t := ye.GetToken(); t != nil && t.Position != nil {
			line, col = t.Position.Line, max(t.Position.Column, 1)
		}
	}
	remedy := "correct the YAML here; a text with : # { [ or quotes in it needs quotes around it"
	if line <= len(src.lines) && strings.HasPrefix(strings.TrimLeft(src.lines[line-1], " "), "\t") {
		problem, remedy = "a tab is used for indentation", "indent with spaces"
	}
	return src.at(line, col, "", problem, remedy)
}

func (y *yamlReader) fail(n ast.Node, problem, remedy string) error {
	p := n.GetToken().Position
	return y.src.at(p.Line, max(p.Column, 1), "", problem, remedy)
}

func (y *yamlReader) read(n ast.Node, depth int) (*node, error) {
	if y.count++; y.count > maxNodes {
		return nil, y.fail(n, fmt.Sprintf("more than %d values after aliases are expanded", maxNodes), "write the values out, fewer of them")
	}
	if depth > maxDepth {
		return nil, y.fail(n, fmt.Sprintf("nested more than %d levels deep", maxDepth), "flatten it; an alias may not contain itself")
	}
	p := n.GetToken().Position
	out := &node{line: p.Line, col: max(p.Column, 1)}
	switch v := n.(type) {
	case *ast.NullNode:
		return out, nil
	case *ast.BoolNode:
		out.kind, out.b = nBool, v.Value
	case *ast.IntegerNode, *ast.FloatNode:
		if problem := out.number(n.GetToken().Value); problem != "" {
			return nil, y.fail(n, problem, "write it in plain decimal digits, or in quotes if it is a text")
		}
	case *ast.StringNode:
		out.kind, out.text = nText, v.Value
		// The parser takes a number that is too large for a text.
		if v.Token.Type == token.StringType && plainFloat.MatchString(v.Value) {
			if problem := out.number(v.Value); problem != "" {
				return nil, y.fail(n, problem, "write a smaller number, or put it in quotes if it is a text")
			}
		}
	case *ast.LiteralNode:
		out.kind, out.text = nText, v.Value.Value
	case *ast.MappingNode:
		return y.mapping(out, v.Values, v.IsFlowStyle, depth)
	case *ast.MappingValueNode:
		return y.mapping(out, []*ast.MappingValueNode{v}, v.IsFlowStyle, depth)
	case *ast.SequenceNode:
		out.kind = nList
		for _, it := range v.Values {
			c, err := y.read(it, depth+1)
			if err != nil {
				return nil, err
			}
			out.items = append(out.items, c)
		}
	case *ast.AnchorNode:
		y.anchors[anchorName(v.Name)] = v.Value
		return y.read(v.Value, depth+1)
	case *ast.AliasNode:
		target, ok := y.anchors[anchorName(v.Value)]
		if !ok {
			return nil, y.fail(n, "the alias names no anchor above it", "define &name before *name, or write the value out")
		}
		return y.read(target, depth+1)
	default:
		return nil, y.refuse(n)
	}
	return out, nil
}

// refuse says why a form of YAML that settings do not need is not read.
func (y *yamlReader) refuse(n ast.Node) error {
	switch n.(type) {
	case *ast.InfinityNode, *ast.NanNode:
		return y.fail(n, "not a finite number", "write a number in plain decimal digits")
	case *ast.TagNode:
		return y.fail(n, "YAML tags have no meaning here", "remove the !tag; put a text in quotes")
	case *ast.DirectiveNode:
		return y.fail(n, "YAML directives have no meaning here", "remove the line")
	}
	return y.fail(n, "this YAML form has no meaning here", "use plain keys, texts, numbers and lists")
}

func anchorName(n ast.Node) string {
	if n == nil || n.GetToken() == nil {
		return ""
	}
	return n.GetToken().Value
}

func (y *yamlReader) mapping(out *node, values []*ast.MappingValueNode, flow bool, depth int) (*node, error) {
	out.kind = nMap
	seen := map[string]int{}
	for i, mv := range values {
		key, err := y.key(mv.Key)
		if err != nil {
			return nil, err
		}
		p := mv.Key.GetToken().Position
		if i == 0 && !flow { // the parser puts a block's place at its first colon
			out.line, out.col = p.Line, max(p.Column, 1)
		}
		if first, dup := seen[key]; dup {
			return nil, y.src.at(p.Line, p.Column, key, fmt.Sprintf("the key was already given in line %d", first), "keep one of the two")
		}
		seen[key] = p.Line
		val, err := y.read(mv.Value, depth+1)
		if err != nil {
			return nil, err
		}
		out.entries = append(out.entries, entry{key: key, line: p.Line, col: max(p.Column, 1), val: val})
	}
	return out, nil
}

func (y *yamlReader) key(k ast.MapKeyNode) (string, error) {
	switch v := k.(type) {
	case *ast.StringNode:
		return v.Value, nil
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.NullNode:
		return v.GetToken().Value, nil
	case *ast.MergeKeyNode:
		return "", y.fail(k, "merge keys (<<) have no meaning here", "write the keys out")
	default:
		return "", y.fail(k, "a key must be a plain word", "write key: value")
	}
}
