package app

import (
	"context"
	"encoding/json"
	"math"
	"sync"

	"sallyport/internal/action"
	"sallyport/internal/record"
	"sallyport/internal/store"
)

// trail knows the last version of each item that the log tells of. Rows of the
// book and of the objects can all be put back together by whoever writes to the
// database; the log's entries about them cannot without `sallyport verify`
// noticing. Versions of contexts whose texts are withheld are not in the log,
// nor those that retention removed: these are not compared.
type trail struct {
	rows *store.Store

	mu       sync.Mutex
	last     int64 // event that was read last
	versions map[string]uint64
}

// trailTypes are the events that tell of a version that was made.
var trailTypes = []string{
	string(action.DataWrite) + ".finish", string(action.DataLower) + ".finish", string(action.DataErase) + ".finish",
}

// gone is the version of an item that was erased: none is newer.
const gone = math.MaxUint64

// check refuses an item whose row is older than the log.
func (t *trail) check(ctx context.Context, o record.Object) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.follow(ctx); err != nil {
		return err
	}
	if t.versions[o.ID] > o.Version {
		return errBack(o.ID, nil)
	}
	return nil
}

// follow reads what was logged since the last time.
func (t *trail) follow(ctx context.Context) error {
	if t.versions == nil {
		t.versions = map[string]uint64{}
	}
	for {
		rows, err := t.rows.Events(ctx, store.Filter{Types: trailTypes, AfterID: t.last, Limit: eventPage})
		if err != nil {
			return err
		}
		for _, r := range rows {
			t.last = r.ID
			var d struct {
				Result struct {
					Item    string `json:"item"`
					Version uint64 `json:"version"`
					Erased  string `json:"erased"`
				} `json:"result"`
			}
			if json.Unmarshal(r.Data, &d) != nil {
				continue
			}
			if id := d.Result.Item; id != "" {
				t.versions[id] = max(t.versions[id], d.Result.Version)
			}
			if id := d.Result.Erased; id != "" {
				t.versions[id] = gone
			}
		}
		if len(rows) < eventPage {
			return nil
		}
	}
}
