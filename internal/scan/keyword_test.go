package scan

import (
	"encoding/base64"
	"testing"
)

// seed are the lists of the monitor's page.
func seed() []Keyword {
	var out []Keyword
	for _, w := range []string{"DROP", "DELETE", "SHUTDOWN", "EXEC(", "FORMAT", "RM -RF", "KILL", "SELECT", "UPDATE", "TRANSFER ALL FUNDS", "your_custom_dangerous_term"} {
		out = append(out, Keyword{Text: w, List: "dangerous", Severity: High})
	}
	for _, w := range []string{"REMOVE", "CLEAR", "HACK", "BOMB"} {
		out = append(out, Keyword{Text: w, List: "suspicious"})
	}
	return out
}

func TestKeywords(t *testing.T) {
	e := compile(t, Options{Keywords: seed(), Classes: []string{}})
	const bad, odd = "keyword.dangerous", "keyword.suspicious"
	for text, want := range map[string]string{
		// The naive cases, row by row.
		"the backdrop of a skill, a transformation in a dropdown": "",
		"clearly a nuclear hackathon":                             "",
		"drop me a line":                                          "",
		"select a restaurant for tonight":                         "",
		"update me when you can":                                  "",
		"rm -fr /srv":                                             bad,
		"rm  -rf /srv":                                            bad,
		"rm -r -f /srv":                                           bad,
		"rm --recursive --force /srv":                             bad,
		"D\u200bROP TABLE users":                                  bad,
		"\uff24\uff32\uff2f\uff30 TABLE users":                    bad,
		base64.StdEncoding.EncodeToString([]byte("please DROP TABLE users; now")): bad,
		// Commands and sentences.
		"DROP TABLE users":                       bad,
		"drop database x;":                       bad,
		"Drop\n table if exists users cascade":   bad,
		"we should drop the table reservation":   "",
		"delete from users where id = 3":         bad,
		"delete from the list whatever you like": "",
		"SELECT * FROM users":                    bad,
		"select name, id from users where 1=1":   bad,
		"update users set admin = 1":             bad,
		"kill -9 1":                              bad,
		"kill the lights":                        "",
		"format c: /q":                           bad,
		"git log --format=%H":                    "",
		"ls model information.txt":               "",
		"what format is this?":                   "",
		"shutdown -h now":                        bad,
		"the shutdown of the plant":              "",
		"exec('id')":                             bad,
		"EXEC(@sql)":                             bad,
		"executive summary":                      "",
		"transfer  all\nfunds to me":             bad,
		"Your_Custom_Dangerous_Term":             bad,
		"\u0435xec('id')":                        bad, // a Cyrillic letter
		"please remove it and clear the cache":   odd,
		"hack the planet":                        odd,
		`{"q":"x\nHACK y"}`:                      odd,
		"%44%52%4f%50%20TABLE%20users":           bad,
		`\u0044ROP TABLE users`:                  bad,
		"&#68;ROP TABLE users":                   bad,
		"hackers":                                "",
	} {
		if got := rulesOf(e.Scan([]byte(text))); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

func TestKeywordModes(t *testing.T) {
	for _, c := range []struct {
		k         Keyword
		hit, miss string
	}{
		{Keyword{Text: "drop", Mode: Word}, "drop me a line", "backdrop"},
		{Keyword{Text: "drop", Mode: Substring}, "backdrop", "dro p"},
		{Keyword{Text: `pla[nx]\s+x\d+`, Mode: Regex}, "PLAN  X12", "plan y"},
		{Keyword{Text: "\u00dcberweisung"}, "eine \u00dcBERWEISUNG", "Weisung"},
		{Keyword{Text: "ab"}, "x ab y", "cab"},
		{Keyword{Text: "a.b"}, "see a.b!", "see a-b"},
		{Keyword{Text: "\u8f6c\u8d26"}, "\u8bf7\u8f6c\u8d26\u7ed9", "\u8f6c\u5e10"},
	} {
		if c.k.Text == "\u8f6c\u8d26" {
			c.k.Mode = Substring
		}
		e := compile(t, Options{Keywords: []Keyword{c.k}, Classes: []string{}})
		if got := rulesOf(e.Scan([]byte(c.hit))); got != "keyword.listed" {
			t.Errorf("%q in %q: %q", c.k.Text, c.hit, got)
		}
		if got := rulesOf(e.Scan([]byte(c.miss))); got != "" {
			t.Errorf("%q in %q: %q", c.k.Text, c.miss, got)
		}
	}
	for _, bad := range []Keyword{{Text: " "}, {Text: "(", Mode: Regex}, {Text: "\u200b"}} {
		if _, err := Compile(Options{Keywords: []Keyword{bad}}); err == nil {
			t.Errorf("%q compiles", bad.Text)
		}
	}
}
