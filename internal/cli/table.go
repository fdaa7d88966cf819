package cli

import (
	"strings"
	"unicode/utf8"
)

// column describes one column of a table.
type column struct {
	title string
	right bool // numbers
	flex  bool // shrinks first when the terminal is narrow
}

// cell is a text and how it is coloured; the colour does not count as width.
type cell struct {
	text  string
	color func(string) string
}

func plain(s string) cell { return cell{text: visible(s)} }

// table lays rows out in columns that fit the terminal; piped, nothing is cut.
type table struct {
	cols []column
	rows [][]cell
}

const (
	gap      = 2
	minWidth = 6 // a flexible column is never cut below this
)

func (t *table) add(cells ...cell) { t.rows = append(t.rows, cells) }

// print writes the table.
func (t *table) print(c *call) {
	widths := t.widths(c.width)
	head := make([]cell, len(t.cols))
	for i, col := range t.cols {
		head[i] = cell{text: col.title, color: c.paint.bold}
	}
	t.line(c, head, widths)
	for _, r := range t.rows {
		t.line(c, r, widths)
	}
}

func (t *table) widths(limit int) []int {
	w := make([]int, len(t.cols))
	total := gap * (len(t.cols) - 1)
	for i, col := range t.cols {
		w[i] = width(col.title)
		for _, r := range t.rows {
			w[i] = max(w[i], width(r[i].text))
		}
		total += w[i]
	}
	for limit > 0 && total > limit {
		widest := -1
		for i, col := range t.cols {
			if col.flex && w[i] > minWidth && (widest < 0 || w[i] > w[widest]) {
				widest = i
			}
		}
		if widest < 0 {
			break
		}
		w[widest]--
		total--
	}
	return w
}

func (t *table) line(c *call, cells []cell, widths []int) {
	var b strings.Builder
	for i, x := range cells {
		text := cut(x.text, widths[i])
		pad := strings.Repeat(" ", max(0, widths[i]-width(text)))
		if x.color != nil {
			text = x.color(text)
		}
		switch {
		case t.cols[i].right:
			b.WriteString(pad + text)
		case i == len(cells)-1:
			b.WriteString(text)
		default:
			b.WriteString(text + pad)
		}
		if i < len(cells)-1 {
			b.WriteString(strings.Repeat(" ", gap))
		}
	}
	c.printf("%s\n", strings.TrimRight(b.String(), " "))
}

// width counts characters; wide scripts are rare in what is shown here.
func width(s string) int { return utf8.RuneCountInString(s) }

// cut shortens to n characters, the last of which says so.
func cut(s string, n int) string {
	if width(s) <= n {
		return s
	}
	return string([]rune(s)[:max(0, n-1)]) + "…"
}
