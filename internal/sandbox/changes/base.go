package changes

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

// record is one line of base.jsonl: what stood at Path when it was copied. The
// last record of a path counts. An empty type means that nothing stands there
// any more; its fate was decided.
type record struct {
	Path   string `json:"path"` // relative to Dir, as it is on disk
	Type   string `json:"type"` // file, dir, link, other or ""
	Mode   uint32 `json:"mode"` // the low twelve bits count
	Size   int64  `json:"size"`
	MTime  int64  `json:"mtime"` // nanoseconds since 1970
	SHA256 string `json:"sha256,omitempty"`
	Target string `json:"target,omitempty"`
}

// maxRecords bounds the memory a base takes.
const maxRecords = 4 << 20

// base is the tree that was copied.
type base struct {
	record
	children map[string]*base
}

// parseBase reads base.jsonl. A torn last line counts for nothing.
func parseBase(r io.Reader) (*base, error) {
	root := &base{record: record{Type: TypeDir}}
	err := eachLine(r, func(n int, line []byte, torn bool) error {
		if n > maxRecords {
			return fmt.Errorf("base.jsonl: more than %d lines", maxRecords)
		}
		var rec record
		if err := json.Unmarshal(line, &rec); err != nil {
			if torn {
				return nil
			}
			return fmt.Errorf("base.jsonl: line %d: %w", n, err)
		}
		if rec.Path == "." || rec.Path == "" {
			return nil // the root itself: its identity is in meta.json
		}
		if !cleanPath(rec.Path) || !slices.Contains([]string{TypeFile, TypeDir, TypeLink, TypeOther, ""}, rec.Type) {
			return fmt.Errorf("base.jsonl: line %d is not a record", n)
		}
		root.put(rec)
		return nil
	})
	return root, err
}

// put files a record; a record that is no directory drops what was beneath.
func (b *base) put(rec record) {
	for part := range strings.SplitSeq(rec.Path, "/") {
		if b.children == nil {
			b.children = map[string]*base{}
		}
		next := b.children[part]
		if next == nil {
			next = &base{record: record{Type: TypeDir}}
			b.children[part] = next
		}
		b = next
	}
	b.record = rec
	b.Path = "" // known by position
	if rec.Type != TypeDir {
		b.children = nil
	}
}

// at gives the record of a path, nil if nothing was copied there.
func (b *base) at(raw string) *base {
	if raw == "" {
		return b
	}
	for part := range strings.SplitSeq(raw, "/") {
		if b = b.children[part]; b == nil {
			return nil
		}
	}
	if b.Type == "" {
		return nil
	}
	return b
}

// names of what was copied into a directory, sorted; special files were not.
func (b *base) names() []string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(b.children)) {
		if t := b.children[name].Type; t != "" && t != TypeOther {
			out = append(out, name)
		}
	}
	return out
}
