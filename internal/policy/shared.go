package policy

import (
	"sync"

	"github.com/cedar-policy/cedar-go/types"

	"sallyport/internal/label"
	"sallyport/internal/record"
)

// shared holds the parts of requests that repeat, built once. Cedar records
// are immutable and hash themselves when made, so making them is what costs.
type shared struct {
	labels    map[label.Label]types.Record // labels without compartments
	sinks     map[sinkKey]types.Record
	noHistory types.Record
	noScreen  types.Set

	mu    sync.RWMutex
	flows map[flow]types.Record // of those that were asked for: few of all there could be
}

type sinkKey struct {
	listed    bool
	clearance label.Label
}

type history struct {
	calls, denials int
	spent          record.Micros
}

func newShared() *shared {
	s := &shared{
		labels: map[label.Label]types.Record{}, sinks: map[sinkKey]types.Record{}, flows: map[flow]types.Record{},
		noHistory: history{}.record(), noScreen: stringSet(nil),
	}
	for level := label.Public; level <= label.Secret; level++ {
		for integrity := label.Foreign; integrity <= label.Signed; integrity++ {
			l := label.New(level, integrity, 0)
			s.labels[l] = labelRecord(l)
			for _, listed := range []bool{false, true} {
				s.sinks[sinkKey{listed, l}] = sinkRecord(sinkKey{listed, l})
			}
		}
	}
	return s
}

func (s *shared) label(l label.Label) types.Record {
	if r, ok := s.labels[l]; ok {
		return r
	}
	return labelRecord(l)
}

func (s *shared) sink(k sink) types.Record {
	key := sinkKey{k.listed, k.clearance}
	if r, ok := s.sinks[key]; ok {
		return r
	}
	return sinkRecord(key)
}

// flow gives the record of comparisons.
func (s *shared) flow(f flow) types.Record {
	s.mu.RLock()
	r, ok := s.flows[f]
	s.mu.RUnlock()
	if !ok {
		r = f.record()
		s.mu.Lock()
		s.flows[f] = r
		s.mu.Unlock()
	}
	return r
}

func labelRecord(l label.Label) types.Record {
	return types.NewRecord(types.RecordMap{
		"text": types.String(l.String()), "level": types.Long(l.Level), "integrity": types.Long(l.Integrity),
	})
}

func sinkRecord(k sinkKey) types.Record {
	return types.NewRecord(types.RecordMap{"listed": types.Boolean(k.listed), "clearance": types.String(k.clearance.String())})
}

func (fl flow) record() types.Record {
	return types.NewRecord(types.RecordMap{
		"sink": types.Boolean(fl.sink), "integrity": types.Boolean(fl.integrity), "control": types.Boolean(fl.control),
		"clearance": types.Boolean(fl.clearance), "ceiling": types.Boolean(fl.ceiling), "endpoint": types.Boolean(fl.endpoint), "item": types.Boolean(fl.item),
		"taint": types.Boolean(fl.taint), "write": types.Boolean(fl.write), "spawn": types.Boolean(fl.spawn),
		"extract": types.Boolean(fl.extract), "lower": types.Boolean(fl.lower), "instruct": types.Boolean(fl.instruct),
		"trusted": types.Boolean(fl.trusted),
	})
}

func (h history) record() types.Record {
	return types.NewRecord(types.RecordMap{
		"calls": types.Long(h.calls), "denials": types.Long(h.denials), "spent_micros": types.Long(h.spent),
	})
}
