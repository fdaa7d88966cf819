package changes

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"unicode/utf8"

	"github.com/aymanbagabas/go-udiff"
)

// The bounds of DiffOptions.
const (
	defaultDiffBytes = 256 << 10
	maxDiffBytes     = 4 << 20
	maxDiffLines     = 20_000 // of both sides; more take too long to compare
)

// Diff writes what a Change does: a unified diff for text, sizes and digests for
// all else. Whatever the session or the host's files hold is escaped for a
// terminal, except tabs and line ends. It shows what is there now, which Commit
// compares with c.
func (s *Set) Diff(ctx context.Context, w io.Writer, c Change, o DiffOptions) error {
	v, err := s.open("changes.diff")
	if err != nil {
		return err
	}
	defer v.close()
	if o.MaxBytes <= 0 {
		o.MaxBytes = defaultDiffBytes
	}
	if o.Context <= 0 {
		o.Context = udiff.DefaultContextLines
	}
	o.MaxBytes, o.Context = min(o.MaxBytes, maxDiffBytes), min(o.Context, 1000)
	d := differ{view: v, w: w, o: o}
	d.change(ctx, c)
	return errors.Join(ctx.Err(), d.err)
}

type differ struct {
	*view
	w   io.Writer
	o   DiffOptions
	err error
}

// side is one version of an entry.
type side struct {
	n    node
	text string // of a file short enough, or a link
	size int64
	sum  string // of a file that is no short text
	note string // why it cannot be read
}

func (d *differ) change(ctx context.Context, c Change) {
	raw, ok := rawPath(c.Path)
	if !ok {
		d.line("", "not the path of a change: "+Visible(c.Path, false))
		return
	}
	d.line("\x1b[1m", c.String())
	for _, s := range []string{c.Refused, c.Protected, c.Conflict, c.Note} {
		if s != "" {
			d.line("\x1b[1m", "note: "+Visible(s, false))
		}
	}
	if c.Type == TypeOther || c.Refused != "" && c.Type == TypeFile && c.SHA256 == "" {
		d.line("", "its content is not shown")
		return
	}
	if c.Kind == KindMode || c.Kind == KindModified && c.Mode != c.OldMode {
		d.line("", fmt.Sprintf("mode %04o becomes %04o", octal(c.OldMode), octal(c.Mode)))
	}
	if c.Kind == KindMode || c.Type == TypeDir && c.OldType != TypeFile && c.OldType != TypeLink {
		return
	}
	old, now := d.side(ctx, d.host, raw, false), side{}
	if c.Kind != KindDeleted {
		now = d.side(ctx, d.src, raw, d.base == nil)
	}
	d.sides(c, old, now)
}

func octal(m fs.FileMode) uint32 {
	bits := uint32(m.Perm())
	if m&fs.ModeSticky != 0 {
		bits |= 0o1000
	}
	return bits
}

// side reads one version.
func (d *differ) side(ctx context.Context, t tree, raw string, marks bool) side {
	s := side{n: lookOrBad(t, raw, marks)}
	switch s.n.typ {
	case TypeLink:
		s.text = "link to " + s.n.target + "\n"
	case TypeDir:
		s.text = "directory\n"
	case TypeFile:
		s.size = s.n.st.Size
		f, _, err := t.file(raw)
		if err != nil {
			s.note = reason(err)
			return s
		}
		defer f.Close()
		var head bytes.Buffer
		if _, err := io.Copy(&head, io.LimitReader(f, d.o.MaxBytes+1)); err != nil {
			s.note = reason(err)
			return s
		}
		if b := head.Bytes(); int64(len(b)) <= d.o.MaxBytes && bytes.IndexByte(b, 0) < 0 && utf8.Valid(b) && bytes.Count(b, []byte("\n")) <= maxDiffLines {
			s.text = head.String()
			return s
		}
		if s.sum, err = t.digest(ctx, raw); err != nil {
			s.note = reason(err)
		}
	}
	return s
}

func (d *differ) sides(c Change, old, now side) {
	if old.note != "" || now.note != "" || old.sum != "" || now.sum != "" {
		for i, s := range []side{old, now} {
			if s.n.typ == "" {
				continue
			}
			what := fmt.Sprintf("%c %s, %d bytes", "-+"[i], s.n.typ, s.size)
			if s.sum != "" {
				what += ", binary or large, sha256 " + s.sum
			}
			if s.note != "" {
				what += ", not readable: " + s.note
			}
			d.line([]string{red, green}[i], what)
		}
		return
	}
	u, err := udiff.ToUnifiedDiff("a", "b", old.text, udiff.Lines(old.text, now.text), d.o.Context)
	if err != nil {
		d.err = errors.Join(d.err, err)
		return
	}
	from, to := "a/"+Visible(c.Path, false), "b/"+Visible(c.Path, false)
	if c.Kind == KindAdded {
		from = "/dev/null"
	}
	if c.Kind == KindDeleted {
		to = "/dev/null"
	}
	d.line("\x1b[1m", "--- "+from)
	d.line("\x1b[1m", "+++ "+to)
	for _, h := range u.Hunks {
		d.hunk(h)
	}
}

const (
	red   = "\x1b[31m"
	green = "\x1b[32m"
	cyan  = "\x1b[36m"
)

func (d *differ) hunk(h *udiff.Hunk) {
	from, to := 0, 0
	for _, l := range h.Lines {
		if l.Kind != udiff.Insert {
			from++
		}
		if l.Kind != udiff.Delete {
			to++
		}
	}
	start := func(line, n int) int { return line - min(1, max(0, 1-n)) }
	d.line(cyan, fmt.Sprintf("@@ -%d,%d +%d,%d @@", start(h.FromLine, from), from, start(h.ToLine, to), to))
	for _, l := range h.Lines {
		text, ended := strings.CutSuffix(l.Content, "\n")
		sign, colour := " ", ""
		switch l.Kind {
		case udiff.Delete:
			sign, colour = "-", red
		case udiff.Insert:
			sign, colour = "+", green
		case udiff.Equal:
		}
		d.line(colour, sign+Visible(text, false))
		if !ended {
			d.line("", `\ No newline at end of file`)
		}
	}
}

// line writes one line that is safe already.
func (d *differ) line(colour, text string) {
	if d.err != nil {
		return
	}
	if d.o.Color && colour != "" {
		text = colour + text + "\x1b[0m"
	}
	_, d.err = io.WriteString(d.w, text+"\n")
}
