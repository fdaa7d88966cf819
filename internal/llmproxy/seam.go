package llmproxy

import (
	"sallyport/internal/fault"
	"sallyport/internal/llmproxy/wire"
)

// unwrap gives the calls that a call stands for.
func unwrap(c wire.Call) ([]wire.Call, bool) { return []wire.Call{c}, true }

// replace puts notices in the place of calls; until it can, the whole reply is
// refused.
func replace(_ *wire.Reply, b []byte, notices map[int]string) ([]byte, error) {
	for _, n := range notices {
		return nil, fault.New("llmproxy.replace", fault.Denied, "%s", n)
	}
	return b, nil
}

// textOf gives text i of a reply.
func textOf(r *wire.Reply, b []byte, i int, buf []byte) []byte {
	q := wire.Request{Texts: r.Texts}
	return q.Text(b, i, buf)
}
