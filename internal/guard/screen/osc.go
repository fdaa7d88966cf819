package screen

import (
	"net/url"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	maxTitle = 120  // runes
	maxLink  = 2048 // bytes of an address
)

// osc judges an operating system command. What passes is written anew from the
// parts that were understood and ends in ST.
func (f *Filter) osc() {
	if len(f.str) > maxKept {
		f.counts[Command]++
		return
	}
	number, rest, _ := strings.Cut(string(f.str), ";")
	switch number {
	case "0", "1", "2":
		f.title(number, rest)
	case "4":
		index, query, _ := strings.Cut(rest, ";")
		if n, err := strconv.ParseUint(index, 10, 8); err == nil && query == "?" {
			f.command("4;" + strconv.FormatUint(n, 10) + ";?")
			return
		}
		f.counts[Command]++
	case "10", "11", "12":
		if rest == "?" {
			f.command(number + ";?")
			return
		}
		f.counts[Command]++
	case "8":
		f.link(rest)
	case "52":
		f.counts[Clipboard]++
	default:
		f.counts[Command]++
	}
}

// command writes an OSC.
func (f *Filter) command(body string) {
	f.out = append(f.out, esc, ']')
	f.out = append(f.out, body...)
	f.out = append(f.out, esc, '\\')
}

// title writes a title of visible characters. Leading underscores go: a
// terminal for Windows runs commands named in titles that begin with two.
func (f *Filter) title(number, text string) {
	clean := visible(text)
	clean = strings.TrimLeft(clean, "_ ")
	if r := []rune(clean); len(r) > maxTitle {
		clean = string(r[:maxTitle])
	}
	if clean != text {
		f.counts[Title]++
	}
	f.command(number + ";" + clean)
}

// visible keeps what a person can see of one line of text: no controls, no
// directional or invisible runes, no broken UTF-8.
func visible(s string) string {
	return strings.Map(func(r rune) rune {
		if r == utf8.RuneError || r != ' ' && !unicode.IsGraphic(r) || unicode.In(r, unicode.Zl, unicode.Zp, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector) {
			return -1
		}
		if unicode.Is(unicode.Zs, r) {
			return ' '
		}
		return r
	}, s)
}

// link opens or closes a hyperlink. A link that does not pass closes the one
// before it, so that its text is no part of that.
func (f *Filter) link(rest string) {
	params, target, ok := strings.Cut(rest, ";")
	if target == "" || !ok {
		f.modes.link = ""
		f.command("8;;")
		return
	}
	if !plainLink(target) {
		f.counts[Link]++
		f.modes.link = ""
		f.command("8;;")
		return
	}
	f.modes.link = "8;" + linkID(params) + ";" + target
	f.command(f.modes.link)
}

// linkID keeps the id of a link, which joins its parts, if it is a plain word.
func linkID(params string) string {
	for p := range strings.SplitSeq(params, ":") {
		id, ok := strings.CutPrefix(p, "id=")
		if !ok || id == "" || len(id) > 64 {
			continue
		}
		if strings.Trim(id, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-") == "" {
			return p
		}
	}
	return ""
}

// plainLink tells an http or https address that names its host openly.
func plainLink(s string) bool {
	if len(s) > maxLink {
		return false
	}
	for i := range len(s) {
		if s[i] <= ' ' || s[i] >= del {
			return false
		}
	}
	u, err := url.Parse(s)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" && u.User == nil
}
