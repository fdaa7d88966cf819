package config

import (
	"fmt"
	"regexp"
	"sort"
	"strconv"
	"unicode/utf8"

	"github.com/tailscale/hujson"
)

// jsonReader turns JSON with comments into nodes.
type jsonReader struct {
	src    *source
	starts []int // offset of each line
}

func parseJSON(src *source, data []byte) (*node, error) {
	j := &jsonReader{src: src, starts: []int{0}}
	for i, c := range data {
		if c == '\n' {
			j.starts = append(j.starts, i+1)
		}
	}
	if err := j.bound(data); err != nil {
		return nil, err
	}
	v, err := hujson.Parse(data)
	if err != nil {
		return nil, j.syntax(data, err)
	}
	return j.read(v)
}

func (j *jsonReader) place(off int) (line, col int) {
	line = sort.SearchInts(j.starts, off+1)
	start := j.starts[line-1]
	return line, 1 + utf8.RuneCountInString(j.src.text[start:min(off, len(j.src.text))])
}

func (j *jsonReader) fail(off int, problem, remedy string) error {
	line, col := j.place(off)
	return j.src.at(line, col, "", problem, remedy)
}

var jsonPlace = regexp.MustCompile(`^hujson: line (\d+), column (\d+): (.*)$`)

func (j *jsonReader) syntax(data []byte, err error) error {
	line, col, problem := 1, 1, err.Error()
	if m := jsonPlace.FindStringSubmatch(problem); m != nil {
		line, _ = strconv.Atoi(m[1])
		byteCol, _ := strconv.Atoi(m[2])
		problem = m[3]
		if line >= 1 && line <= len(j.starts) { // its column counts bytes
			start := j.starts[line-1]
			col = 1 + utf8.RuneCount(data[start:min(start+byteCol-1, len(data))])
		}
	}
	return j.src.at(line, col, "", problem, "correct the JSON here; comments // and /* */ are allowed")
}

// bound walks the bytes without recursion, because the parser recurses.
func (j *jsonReader) bound(data []byte) error {
	depth, tokens := 0, 0
	for i := 0; i < len(data); i++ {
		switch c := data[i]; c {
		case '"':
			for i++; i < len(data) && data[i] != '"' && data[i] != '\n'; i++ {
				if data[i] == '\\' {
					i++
				}
			}
		case '/':
			i = skipComment(data, i)
		case '{', '[':
			if depth++; depth > maxDepth {
				return j.fail(i, fmt.Sprintf("nested more than %d levels deep", maxDepth), "flatten it")
			}
		case '}', ']':
			depth--
		case ',', ':':
			if tokens++; tokens > maxTokens {
				return j.fail(i, fmt.Sprintf("the file has more than %d values", maxTokens), "shorten its lists")
			}
		}
	}
	return nil
}

// skipComment gives the offset of the last byte of the comment at i, or i.
func skipComment(data []byte, i int) int {
	if i+1 >= len(data) {
		return i
	}
	switch data[i+1] {
	case '/':
		for i++; i+1 < len(data) && data[i+1] != '\n'; i++ {
		}
	case '*':
		for i += 2; i+1 < len(data) && (data[i] != '*' || data[i+1] != '/'); i++ {
		}
		i++
	}
	return i
}

func (j *jsonReader) read(v hujson.Value) (*node, error) {
	line, col := j.place(v.StartOffset)
	out := &node{line: line, col: col}
	switch t := v.Value.(type) {
	case hujson.Literal:
		return out, j.literal(out, v.StartOffset, t)
	case *hujson.Array:
		out.kind = nList
		for _, e := range t.Elements {
			c, err := j.read(e)
			if err != nil {
				return nil, err
			}
			out.items = append(out.items, c)
		}
	case *hujson.Object:
		out.kind = nMap
		seen := map[string]int{}
		for _, m := range t.Members {
			name, ok := m.Name.Value.(hujson.Literal)
			if !ok {
				return nil, j.fail(m.Name.StartOffset, "a key must be a text", `write "key": value`)
			}
			key := name.String()
			kl, kc := j.place(m.Name.StartOffset)
			if first, dup := seen[key]; dup {
				return nil, j.src.at(kl, kc, key, fmt.Sprintf("the key was already given in line %d", first), "keep one of the two")
			}
			seen[key] = kl
			val, err := j.read(m.Value)
			if err != nil {
				return nil, err
			}
			out.entries = append(out.entries, entry{key: key, line: kl, col: kc, val: val})
		}
	}
	return out, nil
}

func (j *jsonReader) literal(out *node, off int, lit hujson.Literal) error {
	switch lit.Kind() {
	case 'n':
		out.kind = nNull
	case 't', 'f':
		out.kind, out.b = nBool, lit.Bool()
	case '"':
		out.kind, out.text = nText, lit.String()
	default:
		if problem := out.number(string(lit)); problem != "" {
			return j.fail(off, problem, "write it in plain decimal digits")
		}
	}
	return nil
}
