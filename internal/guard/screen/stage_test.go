package screen

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

const statusText = "sallyport: this row is ours"

// staged is a filter on a stage that fills a model of a terminal but for the
// last row.
type staged struct {
	f *Filter
	v *vt
}

func newStaged(rows, cols int) *staged {
	s := &staged{f: &Filter{stage: newStage(rows-1, cols)}, v: newVT(rows, cols)}
	s.v.row = rows - 1 // a prompt at the bottom: the usual place
	s.v.ours = true
	s.v.write(appendReserve(nil, rows-1))
	s.v.ours = false
	s.paint()
	return s
}

func (s *staged) paint() {
	s.v.ours = true
	s.v.write(s.f.paint(nil, statusText, true))
	s.v.ours = false
}

func (s *staged) resize(rows, cols, row int) {
	s.v.resize(rows, cols, row)
	s.v.ours = true
	s.v.write(s.f.resize(nil, rows-1, cols))
	s.v.ours = false
	s.paint()
}

// print shows output and, like the screen, repairs the row if it was erased.
func (s *staged) print(text string) {
	s.v.write(s.f.Append(nil, []byte(text)))
	if s.f.stage.stale {
		if s.v.trespass == "scroll" { // by us, making room on the main screen
			s.v.trespass = ""
		}
		s.paint()
	}
}

func (s *staged) check(t interface{ Fatalf(string, ...any) }) {
	want := fit(statusText, s.v.cols-1)
	if got := s.v.line(s.v.rows - 1); got != want || s.v.trespass != "" {
		t.Fatalf("the last row is %q, want %q; written by %q", got, want, s.v.trespass)
	}
	if s.v.row > s.v.rows-2 {
		t.Fatalf("the cursor is on row %d of %d", s.v.row+1, s.v.rows)
	}
}

// bounds checks what the stage believes against what is.
func (s *staged) bounds(t interface{ Fatalf(string, ...any) }) {
	c, g, v := s.f.stage.at, s.f.stage, s.v
	row := v.row + 1
	switch {
	case v.trespass != "":
		t.Fatalf("trespass: %s", v.trespass)
	case v.bottom+1 != g.low || g.low > g.rows:
		t.Fatalf("the margin is %d, believed %d of %d", v.bottom+1, g.low, g.rows)
	case row > c.most || c.most > g.low:
		t.Fatalf("row %d, believed at most %d, margin %d", row, c.most, g.low)
	case c.rowKnown && (row != c.row || c.most != c.row):
		t.Fatalf("row %d, believed %d", row, c.row)
	case c.colKnown && v.col != c.col:
		t.Fatalf("column %d, believed %d", v.col, c.col)
	case !c.colKnown && row == c.most && v.col > c.far:
		t.Fatalf("column %d, believed at most %d", v.col, c.far)
	}
}

// hostile draws pieces of output meant to get at the last row.
func hostile() *rapid.Generator[string] {
	return rapid.Custom(func(t *rapid.T) string {
		n := rapid.SampledFrom([]int{0, 1, 2, 3, 5, 7, 8, 9, 10, 11, 12, 99, 9999}).Draw(t, "n")
		m := rapid.SampledFrom([]int{0, 1, 2, 4, 7, 9, 10, 11, 99}).Draw(t, "m")
		form := rapid.SampledFrom([]string{
			"x", "\r", "\n", "\t", "\b", "\v", "\x1bD", "\x1bE", "\x1bM", "\x1b7", "\x1b8", "\x1b[s", "\x1b[u", "\x1bc", "\x1b[!p", "\x1b#8",
			"世", "─", "e\u0301", "🙂", "\u200b", "\u00ad", "ﷺ", "世世世世世世世世世世世世世世",
			"\x1b[?6h", "\x1b[?6l", "\x1b[?7l", "\x1b[?7h", "\x1b[?1049h", "\x1b[?1049l", "\x1b[?47h", "\x1b[?47l", "\x1b[?1048h", "\x1b[?1048l",
			"\x1b[J", "\x1b[2J", "\x1b[1J", "\x1b[K", "\x1b[4h", "\x1b[4l", "\x1b[r", "\x1b[?2026h", "\x1b[?2026l", "\x1b]8;;http://a.b\a",
			"\x1b[%dA", "\x1b[%dB", "\x1b[%dC", "\x1b[%dD", "\x1b[%dE", "\x1b[%dF", "\x1b[%dG", "\x1b[%dd", "\x1b[%de", "\x1b[%d`", "\x1b[%da",
			"\x1b[%dL", "\x1b[%dM", "\x1b[%dS", "\x1b[%dT", "\x1b[%db", "\x1b[%dI", "\x1b[%dZ", "\x1b[%d@", "\x1b[%dP", "\x1b[%dX",
			"\x1b[%d;%dH", "\x1b[%d;%df", "\x1b[%d;%dr", "xxxxxxxxxxxxxxxxx", "\x1b[65;%d;1;24;80$x", "\x1b[?3h", "\x1b[?69h\x1b[%d;%ds",
		}).Draw(t, "form")
		switch strings.Count(form, "%d") {
		case 1:
			return fmt.Sprintf(form, n)
		case 2:
			return fmt.Sprintf(form, n, m)
		}
		return form
	})
}

// TestLastRowIsOurs: no output reaches the last row, whatever the terminal
// thinks of widths, margins and pending wraps.
func TestLastRowIsOurs(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := newStaged(11, rapid.SampledFrom([]int{1, 2, 7, 16, 80}).Draw(t, "cols"))
		s.v.passesMargins = rapid.Bool().Draw(t, "passes margins")
		s.v.keepsPending = rapid.Bool().Draw(t, "keeps pending")
		s.v.ignoresWrap = rapid.Bool().Draw(t, "ignores wrap")
		s.v.keepsCursor = rapid.Bool().Draw(t, "keeps cursor")
		seed := rapid.Rune().Draw(t, "widths")
		most := 3
		if s.v.cols == 1 {
			most = 2 // nothing wide fits
		}
		s.v.wide = func(r rune) int { return min(int(r^seed)*7%most, s.v.cols) }
		for _, piece := range rapid.SliceOfN(hostile(), 1, 60).Draw(t, "output") {
			s.print(piece)
			s.bounds(t)
			switch rapid.IntRange(0, 19).Draw(t, "notice") {
			case 1, 2:
				s.paint()
			case 3:
				rows := rapid.IntRange(5, 14).Draw(t, "rows")
				s.resize(rows, rapid.SampledFrom([]int{1, 2, 7, 16, 80}).Draw(t, "new cols"), rapid.IntRange(0, rows-1).Draw(t, "row"))
				s.bounds(t)
			}
		}
		s.paint()
		s.check(t)
	})
}

// TestAttacksOnLastRow: each of these writes on the last row of a terminal
// that is given the output as it is.
func TestAttacksOnLastRow(t *testing.T) {
	for name, in := range map[string]string{
		"address":             "\x1b[99;1Hevil",
		"address with f":      "\x1b[99;1fevil",
		"row":                 "\x1b[99devil",
		"down":                "\x1b[99Bevil",
		"next line":           "\x1b[99Eevil",
		"relative row":        "\x1b[99eevil",
		"margins off":         "\x1b[r\x1b[10;1H\n\n\n\nevil",
		"below the region":    "\x1b[1;3r\x1b[10;1H\n\n\nevil",
		"wrap below region":   "\x1b[1;3r\x1b[10;1H" + strings.Repeat("evil ", 30),
		"down below region":   "\x1b[1;3r\x1b[9;1H\x1b[99Bevil",
		"restore below":       "\x1b[10;1H\x1b7\x1b[1;3r\x1b8\n\n\nevil",
		"restore unsaved":     "\x1b[?1049h\x1b8evil",
		"restore older":       "\x1b[?1049h\x1b7\x1b[?1049l\x1b[?1049h\x1b8evil",
		"leave the main":      "\x1b[?1049levil",
		"alternate":           "\x1b[?1049h\n\n\n\n\n\n\n\n\n\n\n\n\n\nevil",
		"alternate and back":  "\x1b[10;1H\x1b[?47h\x1b[?47l\n\n\nevil",
		"origin":              "\x1b[2;4r\x1b[?6h\x1b[99;1H\n\n\n\n\nevil",
		"reset":               "\x1bc\x1b[99;1Hevil",
		"soft reset":          "\x1b[!p\x1b[10;1H\n\n\nevil",
		"wide runes":          "\x1b[8;1H" + strings.Repeat("世", 100) + "\x1b[5Bevil",
		"zero width":          "\x1b[8;1H" + strings.Repeat("\u00ad", 100) + "\x1b[5Bevil",
		"erase and write":     "\x1b[2J\x1b[11;1Hevil",
		"repeat":              "\x1b[10;1He\x1b[500b",
		"no wrap then moves":  "\x1b[?7l\x1b[9;1H" + strings.Repeat("x", 50) + "\x1b[?7h\x1b[9Bevil",
		"pending wraps":       "\x1b[9;16Hx\x1b[By\x1b[By\x1b[By",
		"scroll":              "\x1b[r\x1b[9S\x1b[9Tevil\x1b[99L\x1b[99Mevil",
		"cursor in last line": "\x1b[10;1H\x1b[Levil\x1b[Mevil",
	} {
		t.Run(name, func(t *testing.T) {
			for _, passes := range []bool{false, true} {
				s := newStaged(11, 16)
				s.v.passesMargins = passes
				s.print(in)
				s.check(t)
			}
		})
	}
	s := newStaged(11, 16)
	s.v.write([]byte("\x1b[99;1Hevil"))
	if s.v.trespass == "" {
		t.Error("the model does not notice an attack")
	}
}

// TestStageKeepsMeaning: what honest programs draw looks the same as on a
// terminal of one row less.
func TestStageKeepsMeaning(t *testing.T) {
	for name, in := range map[string]string{
		"text":            "\x1b[Hone\r\ntwo\r\nthree",
		"scrolling":       "\x1b[H" + strings.Repeat("line\r\n", 20) + "end",
		"full screen":     "\x1b[?1049h\x1b[2J\x1b[10;1Hbottom\x1b[1;1Htop\x1b[5;5Hmid",
		"editor scroll":   "\x1b[Ha\r\nb\r\nc\r\nd\r\ne\x1b[10;1Hcommand\x1b[1;9r\x1b[9;1H\n\n\x1b[r\x1b[10;8H!",
		"reverse scroll":  "\x1b[Ha\r\nb\r\nc\x1b[10;1H:\x1b[2;9r\x1b[2;1H\x1bM\x1bM\x1b[r\x1b[10;2Hq",
		"progress bar":    "\x1b[9;1H\n\x1b7\x1b[0;9r\x1b8\x1b[1Aone\r\ntwo\r\nthree\x1b7\x1b[10;1Hbar 50%\x1b8\r\nfour",
		"origin":          "\x1b[3;6r\x1b[?6h\x1b[1;1Hin\x1b[9;1Hlow\n\n\x1b[?6l\x1b[1;1Hout",
		"down and up":     "\x1b[5;5Hx\x1b[3By\x1b[2Az\x1b[99Be\x1b[2Ef\x1b[99Fg",
		"row keeps col":   "\x1b[4;7Hx\x1b[9dy\x1b[2;4r\x1b[9;3Hz\x1b[2du",
		"main and back":   "\x1b[3;3Hmain\x1b[?1049h\x1b[2Jalt\x1b[?1049l!",
		"saved colours":   "\x1b[2;2H\x1b7\x1b[9;9Hx\x1b8y",
		"up to a margin":  "\x1b[3;8r\x1b[5;1Hx\x1b[9Ay\x1b[9Bz",
		"wide":            "\x1b[H世界世界世界世界世\r\n\x1b[2Bx",
		"soft reset":      "\x1b[3;6r\x1b[4;2Hx\x1b[!py\n\n\n\n\n\nz",
		"last column":     "\x1b[H0123456789abcdef\r\nx0123456789abcdefgh",
		"below a region":  "\x1b[2;5r\x1b[3;1Hin\x1b[10;1Hlow\n\n\n\nx",
		"region restored": "\x1b[2;5r\x1b[9;1Hbelow\x1b[3;1H\n\n\n\nin",
	} {
		t.Run(name, func(t *testing.T) {
			s, plain := newStaged(11, 16), newVT(10, 16)
			s.v.passesMargins = true
			var f Filter // of the same meaning, without a stage
			plain.write([]byte("\x1b[10;1H"))
			s.f.stage.put(10, 0)
			plain.write(f.Append(nil, []byte(strings.NewReplacer("\x1b[?6h", "", "\x1b[?6l", "", "\x1b[9;1Hlow", "\x1b[6;1Hlow", "\x1b[1;1Hin", "\x1b[3;1Hin").Replace(in))))
			s.print(in)
			s.check(t)
			var want, got []string
			for i := range 10 {
				want, got = append(want, plain.line(i)), append(got, s.v.line(i))
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
