package approval

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode"

	"sallyport/internal/action"
	"sallyport/internal/record"
)

// Render shows an ask for a terminal: everything comes from the statement that
// will be signed, never from what a model wrote about it, and nothing in it can
// move the cursor, hide or reorder text.
func (s *Service) Render(row record.AskRow, advice []record.Finding) (string, error) {
	t, err := readAsk(row, s.cfg.Instance)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	line := func(name, value string) { field(&b, name, value) }
	who := "the operator"
	if agent, _ := t.action["agent"].(string); agent != "" {
		who = "agent " + Visible(agent)
	}
	fmt.Fprintf(&b, "May %s do this, once?\n", strings.ReplaceAll(who, "\n", " "))
	line("kind", text(t.action["kind"]))
	line("target", text(t.action["target"]))
	args, _ := t.action["args"].(map[string]any)
	labels, _ := t.action["arg_labels"].(map[string]any)
	for _, name := range slices.Sorted(maps.Keys(args)) {
		line(name, text(args[name]))
		if l, ok := labels[name]; ok {
			line(name+" label", text(l))
		}
	}
	line("context label", text(t.action["context_label"]))
	line("because", row.Because)
	for _, f := range advice {
		line("noticed", f.Rule+": "+f.Detail)
	}
	if t.requester != "" {
		who := t.requester
		if t.people() >= 2 {
			who += " (whose own yes does not count: two or more are needed)"
		}
		line("asked by", who)
	}
	needs := make([]string, len(t.needs))
	for i, n := range t.needs {
		needs[i] = fmt.Sprintf("%d of %s", n.Count, n.Group)
	}
	line("needs", strings.Join(needs, ", "))
	line("digest", Words(t.digest)+"  "+t.digest.String())
	line("ask", row.ID+", until "+t.expires.UTC().Format("2006-01-02 15:04:05 UTC"))
	return b.String(), nil
}

func text(v any) string {
	if s, ok := v.(string); ok {
		return s
	}
	b, err := action.Canonical(v)
	if err != nil {
		return "?"
	}
	return string(b)
}

func field(b *strings.Builder, name, value string) {
	name = strings.ReplaceAll(Visible(name), "\n", `\n`)
	for i, l := range strings.Split(Visible(value), "\n") {
		if i > 0 {
			name = ""
		}
		fmt.Fprintf(b, "  %-14s | %s\n", name, l)
	}
}

// Visible makes every rune that a terminal would not show as itself readable:
// control characters, bidirectional overrides, invisible and unprintable runes
// appear as \u{…}. Line feeds stay.
func Visible(s string) string {
	var b strings.Builder
	for _, r := range s {
		switch {
		case r == '\n', r == ' ':
			b.WriteRune(r)
		case r == '\\':
			b.WriteString(`\\`)
		case !unicode.IsPrint(r) || unicode.In(r, unicode.Cf, unicode.Mn, unicode.Me, unicode.Other_Default_Ignorable_Code_Point) || r == unicode.ReplacementChar:
			fmt.Fprintf(&b, `\u{%x}`, r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// Words spells the first 64 bits of a digest in pronounceable words of
// alternating consonants and vowels, for comparing two screens aloud.
func Words(d action.Digest) string {
	const consonants, vowels = "bdfghjklmnprstvz", "aiou"
	var b strings.Builder
	for i := 0; i < 8; i += 2 {
		n := uint16(d[i])<<8 | uint16(d[i+1])
		if i > 0 {
			b.WriteByte('-')
		}
		b.WriteByte(consonants[n>>12])
		b.WriteByte(vowels[n>>10&3])
		b.WriteByte(consonants[n>>6&15])
		b.WriteByte(vowels[n>>4&3])
		b.WriteByte(consonants[n&15])
	}
	return b.String()
}
