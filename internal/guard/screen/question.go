//go:build unix

package screen

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"sallyport/internal/fault"
)

// Choice is one answer to a Question: the key that gives it and what it is
// called.
type Choice struct {
	Key   byte   // a printable ASCII character but a space and '?'
	Label string // one or two words
}

// Question is asked on the status line.
type Question struct {
	Text string // any text; what cannot be seen is shown as escapes
	Keys []Choice
}

// question is one that waits for its answer.
type question struct {
	Question
	page   int
	pages  int  // as drawn last
	width  int  // as drawn last
	seen   bool // its end was on the screen
	fresh  bool // it took the place of one that nobody answered
	answer chan string
}

// desk is where questions queue; the first one is on the status line.
type desk struct {
	mu    sync.Mutex
	queue []*question
	at    *question // the first one when the prefix was pressed, if its end was shown by then
	help  bool
	await bool
	gone  bool // a question that was shown went unanswered, and no key came since
	// commands of the owner as the help shows them, each followed by a comma
	commands string
}

func (q Question) valid(prefix byte) error {
	if len(q.Keys) == 0 {
		return fault.New("screen.ask", fault.Usage, "a question needs a key that answers it")
	}
	used := map[byte]bool{prefix: true, '?': true, ' ': true}
	for _, c := range q.Keys {
		if used[c.Key] || c.Key < ' ' || c.Key >= del {
			return fault.New("screen.ask", fault.Usage, "the key %q cannot answer a question: keys are printable, distinct, and neither space nor ?", string(rune(c.Key)))
		}
		used[c.Key] = true
	}
	return nil
}

// Ask shows a question on the status line and waits for its answer, the Label
// of the Choice whose key was pressed after the prefix key. The program's
// screen goes on. A key counts only if the end of the question was on the
// screen before the prefix was pressed, so neither what was typed ahead nor
// what was typed for the program answers. After a question that was shown and
// taken back, the first key only says so: a program takes a question back and
// asks another when it likes, also while a finger is on its way to the answer
// of the first. answered is false if ctx ended or the
// screen was closed first; err then is nil or says why the screen is gone.
func (s *Screen) Ask(ctx context.Context, ask Question) (answer string, answered bool, err error) {
	if err := ask.valid(s.opt.Prefix); err != nil {
		return "", false, err
	}
	q := &question{Question: ask, answer: make(chan string, 1)}
	d := &s.desk
	d.mu.Lock()
	d.queue = append(d.queue, q)
	d.mu.Unlock()
	s.wakeDrawer()
	defer s.withdraw(q)
	select {
	case answer = <-q.answer:
		return answer, true, nil
	case <-ctx.Done():
		return "", false, nil
	case <-s.over:
		return "", false, fault.New("screen.ask", fault.Unavailable, "the terminal is gone; ask again where a person is")
	}
}

func (s *Screen) withdraw(q *question) {
	d := &s.desk
	d.mu.Lock()
	for i, other := range d.queue {
		if other == q {
			d.gone = d.gone || i == 0 && q.width > 0
			d.queue = append(d.queue[:i], d.queue[i+1:]...)
			break
		}
	}
	d.mu.Unlock()
	s.wakeDrawer()
}

// front is the question that is shown.
func (d *desk) front() *question {
	if len(d.queue) == 0 {
		return nil
	}
	return d.queue[0]
}

// armed notes what is on the screen when the prefix is pressed.
func (d *desk) armed() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.await, d.at = true, nil
	if q := d.front(); q != nil && q.seen && !q.fresh {
		d.at = q
	}
}

// press takes the key after the prefix. It tells whether the key was for us.
func (d *desk) press(key byte) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	at, help := d.at, d.help
	d.await, d.at, d.help, d.gone = false, nil, false, false
	q := d.front()
	switch {
	case key == '?':
		d.help = !help
		return true
	case key == ' ' && q != nil:
		q.page = (q.page + 1) % max(q.pages, 1)
		return true
	case q == nil:
		return false
	}
	for _, c := range q.Keys {
		if c.Key != key {
			continue
		}
		if q != at {
			q.page = min(q.page+1, max(q.pages-1, 0)) // not all of it was shown: show more
			q.fresh = q.fresh && q.width == 0
			return true
		}
		d.queue = d.queue[1:]
		q.answer <- c.Label
		return true
	}
	return false
}

// line makes what the status line shows; asking says it is a question.
func (d *desk) line(status, prefix string, width int) (text string, asking bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	q := d.front()
	switch {
	case d.help:
		// What matters most comes first: a narrow terminal shows only that.
		return prefix + " then: " + d.commands + "? close this help, " + prefix + " sends itself, space next page of a question", false
	case q == nil && d.await:
		return prefix + " ... (? for help)", false
	case q == nil:
		return status, false
	}
	if d.gone {
		d.gone, q.fresh = false, true
	}
	var b strings.Builder
	if q.fresh {
		b.WriteString("another question, press twice: ")
	}
	b.WriteString(plain(q.Text) + "  " + prefix + " then:")
	for _, c := range q.Keys {
		fmt.Fprintf(&b, " [%c] %s", c.Key, plain(c.Label))
	}
	whole := b.String()
	if q.width != width {
		q.width, q.page, q.seen = width, 0, false
	}
	head := ""
	if n := len(d.queue); n > 1 {
		head = fmt.Sprintf("(1 of %d) ", n)
	}
	all := pages(whole, width-len(head))
	if len(all) > 1 {
		more := "  [" + prefix + " space 99/99]"
		all = pages(whole, width-len(head)-len(more))
		q.pages, q.page = len(all), min(q.page, len(all)-1)
		head += all[q.page] + fmt.Sprintf("  [%s space %d/%d]", prefix, q.page+1, len(all))
	} else {
		q.pages, q.page = 1, 0
		head += all[0]
	}
	q.seen = q.seen || q.page == q.pages-1
	return head, true
}
