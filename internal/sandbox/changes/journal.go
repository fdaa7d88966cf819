package changes

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
)

// entry is one line of the journal. An intent is durable before the temporary
// name it gives exists on the host; what it names is litter as soon as the
// process that wrote it is gone, whatever it holds: a new file that was not yet
// put in place, or an old one that was replaced.
type entry struct {
	Op   string `json:"op"`             // one of the op constants
	Path string `json:"path,omitempty"` // quoted as in Change.Path
	Temp string `json:"temp,omitempty"` // base name of the temporary entry beside it
	Ino  uint64 `json:"ino,omitempty"`  // a file that loses one of its names, and thereby its time of change
}

const (
	opIntent = "intent"
	opDone   = "done"
	opLinked = "linked"
)

// maxLine bounds a line of the journal and of base.jsonl: a quoted path of
// maxPath bytes and the rest.
const maxLine = 64 << 10

// tempName is what temporary entries on the host are called, and nothing else.
var tempName = regexp.MustCompile(`^\.sallyport-[0-9a-f]{16}~$`)

// parseJournal gives the intents that were not done, and the files whose time of
// change says nothing any more. The last line may be torn: what it announced did
// not happen, because it was not yet durable.
func parseJournal(r io.Reader) (left []entry, linked map[uint64]bool, err error) {
	open := map[string]entry{}
	linked = map[uint64]bool{}
	var order []string
	err = eachLine(r, func(n int, line []byte, torn bool) error {
		var e entry
		if err := json.Unmarshal(line, &e); err != nil {
			if torn {
				return nil
			}
			return fmt.Errorf("journal: line %d: %w", n, err)
		}
		if e.Op == opLinked && e.Ino != 0 {
			linked[e.Ino] = true
			return nil
		}
		if _, ok := rawPath(e.Path); !ok || !tempName.MatchString(e.Temp) || e.Op != opIntent && e.Op != opDone {
			return fmt.Errorf("journal: line %d is not an entry", n)
		}
		if e.Op == opDone {
			delete(open, e.Temp)
			return nil
		}
		if _, ok := open[e.Temp]; !ok {
			order = append(order, e.Temp)
		}
		open[e.Temp] = e
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	for _, t := range order {
		if e, ok := open[t]; ok {
			left = append(left, e)
			delete(open, t)
		}
	}
	return left, linked, nil
}

// eachLine calls f for each line; torn marks a last one without its newline.
func eachLine(r io.Reader, f func(n int, line []byte, torn bool) error) error {
	br := bufio.NewReaderSize(r, maxLine)
	for n := 1; ; n++ {
		line, err := br.ReadSlice('\n')
		switch {
		case errors.Is(err, io.EOF) && len(line) == 0:
			return nil
		case errors.Is(err, bufio.ErrBufferFull):
			return fmt.Errorf("line %d is longer than %d bytes", n, maxLine)
		case err != nil && !errors.Is(err, io.EOF):
			return err
		}
		if e := f(n, line, err != nil); e != nil {
			return e
		}
		if err != nil {
			return nil
		}
	}
}
