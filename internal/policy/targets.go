package policy

import (
	"slices"
	"strings"

	"sallyport/internal/action"
)

// targets finds the most specific entries for a kind and target: those of the
// exact one, else of the longest prefix, in the order they were added.
type targets[T any] struct {
	exact  map[action.Kind]map[string][]T
	prefix map[action.Kind][]prefixed[T] // longest first
}

type prefixed[T any] struct {
	prefix string
	values []T
}

func (t *targets[T]) add(k action.Kind, target string, v T) {
	p, ok := strings.CutSuffix(target, "*")
	if !ok {
		if t.exact == nil {
			t.exact = map[action.Kind]map[string][]T{}
		}
		if t.exact[k] == nil {
			t.exact[k] = map[string][]T{}
		}
		t.exact[k][target] = append(t.exact[k][target], v)
		return
	}
	if t.prefix == nil {
		t.prefix = map[action.Kind][]prefixed[T]{}
	}
	for i := range t.prefix[k] {
		if old := &t.prefix[k][i]; old.prefix == p {
			old.values = append(old.values, v)
			return
		}
	}
	t.prefix[k] = append(t.prefix[k], prefixed[T]{p, []T{v}})
	slices.SortFunc(t.prefix[k], func(a, b prefixed[T]) int { return len(b.prefix) - len(a.prefix) })
}

func (t *targets[T]) find(k action.Kind, target string) []T {
	if vs, ok := t.exact[k][target]; ok {
		return vs
	}
	for _, p := range t.prefix[k] {
		if strings.HasPrefix(target, p.prefix) {
			return p.values
		}
	}
	return nil
}

// sinkFor gives the sink that is listed for an agent at the most specific
// target, the last if there are several. Others says that it is listed, but for
// other agents alone: a wider entry does not count then.
func (e *Engine) sinkFor(k action.Kind, target, agent string) (s *Sink, others bool) {
	list := e.sinks.find(k, target)
	for _, s := range slices.Backward(list) {
		if s.Agents == nil || slices.Contains(s.Agents, agent) {
			return s, false
		}
	}
	return nil, len(list) > 0
}
