package auditor

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// factsDir is where the sandbox mounts what the trusted collector gathered.
const factsDir = "/run/sallyport/host"

func itoa(n int) string { return strconv.Itoa(n) }

// frame is the output of one check between its markers.
type frame struct {
	id     string
	closed bool
	out    Output
}

// reading is one user message, taken apart. Marker lines begin with "@", host
// data with "| "; the framing in the shell makes any other first character
// impossible for host data, so nothing read on the host can be a marker.
type reading struct {
	frames []frame
	marks  map[string]string // "@saved 12" is marks["saved"] = "12"
	lists  map[string][]string
	lines  []string // unframed "| " lines outside a check
	admin  []string // messages of the operator
	used   int      // tokens, 0 = not stated
	limit  int
}

const adminPrefix = "Message from admin: "

var (
	idRE     = regexp.MustCompile(`^[A-Z]{2,5}-[0-9]{2}$`)
	promptRE = sync.OnceValue(func() *regexp.Regexp {
		return regexp.MustCompile(`\[Tokens: ([0-9,]{1,12})/([0-9,]{1,12})\][^\n]{0,80}$`)
	})
)

func readMessage(text string) reading {
	r := reading{marks: map[string]string{}, lists: map[string][]string{}}
	lines := strings.Split(text, "\n")
	var cur *frame
	for _, line := range lines {
		line = strings.TrimSuffix(line, "\r")
		switch {
		case strings.HasPrefix(line, "| "):
			if cur != nil {
				cur.out.take(line[2:])
			} else {
				r.lines = append(r.lines, line[2:])
			}
		case strings.HasPrefix(line, "@"):
			word, rest, _ := strings.Cut(line[1:], " ")
			cur = r.mark(cur, word, rest)
		case strings.HasPrefix(line, adminPrefix):
			r.admin = append(r.admin, strings.TrimSpace(line[len(adminPrefix):]))
		}
	}
	r.prompt(lines)
	return r
}

// mark handles one marker line and tells which check's frame is now open.
func (r *reading) mark(cur *frame, word, rest string) *frame {
	switch {
	case idRE.MatchString(word):
		r.frames = append(r.frames, frame{id: word})
		return &r.frames[len(r.frames)-1]
	case word == "cut" && cur != nil:
		cur.out.Skipped, _ = strconv.Atoi(rest)
		return cur
	case word == "end":
		// The count catches an output whose middle was cut on the way.
		if cur != nil && rest == cur.id+" "+itoa(len(cur.out.Data)+len(cur.out.Notes)) {
			cur.closed = true
		}
		return nil
	}
	r.marks[word] = rest
	r.lists[word] = append(r.lists[word], rest)
	return cur
}

func (o *Output) take(line string) {
	switch {
	case strings.HasPrefix(line, "d "):
		o.Data = append(o.Data, line[2:])
	case strings.HasPrefix(line, "! "):
		f := strings.Fields(line[2:])
		n := Note{}
		if len(f) > 0 {
			n.Kind = f[0]
		}
		if len(f) > 1 {
			n.What = f[1]
		}
		if len(f) > 2 {
			n.Who = f[2]
		}
		o.Notes = append(o.Notes, n)
	}
}

// prompt reads the token count from the message's last line that has any text.
func (r *reading) prompt(lines []string) {
	for _, line := range slices.Backward(lines) {
		if strings.TrimSpace(line) == "" {
			continue
		}
		if m := promptRE().FindStringSubmatch(line); m != nil && !strings.HasPrefix(line, "|") {
			r.used, _ = strconv.Atoi(strings.ReplaceAll(m[1], ",", ""))
			r.limit, _ = strconv.Atoi(strings.ReplaceAll(m[2], ",", ""))
		}
		return
	}
}
