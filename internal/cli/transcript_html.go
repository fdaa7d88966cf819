package cli

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"html/template"
	"io"

	"sallyport/internal/app"
	"sallyport/internal/fault"
)

// The page is one file that loads nothing and runs nothing: its policy allows
// this one style sheet, by its hash. Everything an agent wrote passes
// html/template's escaping and visibleLines, so it is neither markup nor a
// trick of invisible characters.
const sessionPage = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src '{{.StyleHash}}'; base-uri 'none'; form-action 'none'">
<meta name="referrer" content="no-referrer">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Session {{.ID}}</title>
<style>{{.Style}}</style>
</head>
<body>
<h1>Session {{.ID}}</h1>
<p class="facts">Agent {{.Agent}} · {{.Begun}} – {{.Last}} · {{.Actions}} actions, {{.Blocked}} blocked · {{.Cost}}</p>
<ol>
{{- range .Steps}}
<li class="{{.Class}}"><time>{{.At}}</time><h2>{{.Title}}</h2> <span class="meta">{{.Tail}} · entry {{.Leaf}}</span>
{{- with .Verdict}}
<p class="{{.Class}}">{{.Text}}</p>{{end}}
{{- with .Alert}}
<p class="{{.}}">{{.}}</p>{{end}}
{{- with .In}}
<pre class="in">{{.}}</pre>{{end}}
{{- with .Out}}
<pre>{{.}}</pre>{{end}}
{{- with .Cut}}
<p class="meta">Recorded in part: {{.}}</p>{{end}}
</li>
{{- end}}
</ol>
</body>
</html>
`

const pageStyle = `
:root { color-scheme: light dark; --ink: #1c2024; --dim: #60646c; --line: #d9dde3; --paper: #fff; --panel: #f5f6f8; --red: #b42318; --amber: #925f00; --green: #1a7f37; --blue: #1f5fbf }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e8eb; --dim: #9aa1ab; --line: #33383f; --paper: #15181c; --panel: #1d2126; --red: #ff8a80; --amber: #f2b84b; --green: #6fd08c; --blue: #86b6ff } }
body { margin: 0 auto; padding: 2rem 1rem 4rem; max-width: 60rem; background: var(--paper); color: var(--ink); font: 15px/1.5 system-ui, sans-serif }
h1 { font-size: 1.3rem; margin: 0 0 .25rem }
.facts, .meta { color: var(--dim) }
ol { list-style: none; margin: 2rem 0 0; padding: 0 }
li { border-top: 1px solid var(--line); padding: .75rem 0 }
h2 { display: inline; font-size: 1rem; margin: 0 }
time { color: var(--dim); font-variant-numeric: tabular-nums; margin-right: .5rem }
pre { margin: .5rem 0 0; padding: .5rem .75rem; background: var(--panel); border-left: 3px solid var(--line); overflow-x: auto; white-space: pre-wrap; overflow-wrap: anywhere; font: 13px/1.45 ui-monospace, monospace }
pre.in { border-color: var(--blue) }
.warn h2, .suspicious, .ask { color: var(--amber) }
.deny, .dangerous { color: var(--red) }
p { margin: .25rem 0 0 }
`

type pageStep struct {
	Class, At, Title, Tail, Alert, In, Out, Cut string
	Leaf                                        int64
	Verdict                                     *pageVerdict
}

type pageVerdict struct{ Class, Text string }

// writeSessionHTML writes the page.
func writeSessionHTML(w io.Writer, s app.Session, list []*step) error {
	const op = "sessions.html"
	page, err := template.New("session").Parse(sessionPage)
	if err != nil {
		return fault.Wrap(op, fault.Internal, err)
	}
	rows := make([]pageStep, len(list))
	for i, x := range list {
		rows[i] = pageStep{
			Class: x.Class, At: x.Time.Local().Format("15:04:05"), Title: visible(x.Title), Tail: visible(x.tail()), Leaf: x.Leaf,
			In: visibleLines(x.Prompt), Out: visibleLines(x.Output), Cut: visible(x.Cut),
		}
		if x.Alert == "suspicious" || x.Alert == "dangerous" {
			rows[i].Alert = x.Alert
		}
		switch {
		case x.Decision == "deny" || x.Decision == "ask":
			rows[i].Verdict = &pageVerdict{x.Decision, fmt.Sprintf("%s by %s: %s", x.Decision, visible(x.Rules), visible(x.Because))}
		case x.Because != "" && x.Decision == "":
			rows[i].Verdict = &pageVerdict{"meta", "because: " + visible(x.Because)}
		}
	}
	hash := sha256.Sum256([]byte(pageStyle))
	return fault.Wrap(op, fault.Unavailable, page.Execute(w, map[string]any{
		"Style": template.CSS(pageStyle), "StyleHash": "sha256-" + base64.StdEncoding.EncodeToString(hash[:]), //nolint:gosec // G203: a constant of ours
		"ID": visible(s.ID), "Agent": visible(s.Agent), "Begun": localTime(s.Begun), "Last": localTime(s.Last), "Actions": actions(list),
		"Blocked": s.Blocked, "Cost": dollars(s.Dollars), "Steps": rows,
	}))
}
