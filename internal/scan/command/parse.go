package command

import (
	"fmt"
	"strings"

	"mvdan.cc/sh/v3/syntax"

	"sallyport/internal/record"
)

// Program is one program that a script may run.
type Program struct {
	Name    string   // basename, wrappers removed; "…" where it is unknown
	Args    []string // after expansion; "…" stands for what is unknown
	Line    int      // in the script, from 1
	Dynamic bool     // the name is known only when it runs
	Open    bool     // further arguments come from elsewhere (xargs) or are unknown

	start, end int
}

// Script is what was read.
type Script struct {
	Programs   []Program
	Findings   []record.Finding // what could not be resolved
	Unresolved bool
}

// Bounds of reading; what lies beyond them is unresolved.
const (
	maxDepth    = 12
	maxPrograms = 2048
	maxScript   = 256 << 10 // bytes
)

// RuleUnresolved and RuleBlocked are the rules of this room's findings.
const (
	RuleUnresolved = "command.unresolved"
	RuleBlocked    = "command.blocked"
)

// Parse reads a script as bash would. It never fails: what cannot be parsed is
// reported as unresolved, together with all that comes before it, because a
// shell runs a script line by line.
func Parse(script string) (s Script) {
	r := &reader{out: &s, vars: map[string]variable{}}
	defer func() {
		if p := recover(); p != nil { // a defect of the parser must not hide a command
			r.unresolved(fmt.Sprintf("the script could not be read: %v", p))
		}
	}()
	r.script(script)
	return s
}

type variable struct {
	value  string
	static bool
}

// reader walks one script and the scripts inside it.
type reader struct {
	out   *Script
	vars  map[string]variable
	depth int
	at    syntax.Node // where in the outermost script we are
}

func (r *reader) line() int {
	if r.at == nil {
		return 1
	}
	return int(r.at.Pos().Line())
}

func (r *reader) span() (start, end int) {
	if r.at == nil {
		return 0, 0
	}
	return int(r.at.Pos().Offset()), int(r.at.End().Offset())
}

func (r *reader) unresolved(detail string) {
	r.out.Unresolved = true
	if len(r.out.Findings) < 32 {
		start, end := r.span()
		r.out.Findings = append(r.out.Findings, record.Finding{
			Rule: RuleUnresolved, Start: start, End: end, Severity: 2, Confidence: 0.5,
			Detail: fmt.Sprintf("line %d: %s", r.line(), detail),
		})
	}
}

// script reads one script; nested ones report the place of the outermost.
func (r *reader) script(text string) {
	if r.depth >= maxDepth || len(text) > maxScript {
		r.unresolved("the script is nested or long beyond what is read")
		return
	}
	r.depth++
	defer func() { r.depth-- }()
	var stmts []*syntax.Stmt
	var failed error
	for stmt, err := range syntax.NewParser(syntax.Variant(syntax.LangBash)).StmtsSeq(strings.NewReader(text)) {
		if err != nil {
			failed = err
			break
		}
		stmts = append(stmts, stmt)
	}
	for _, stmt := range stmts {
		r.assigns(stmt)
	}
	outer := r.depth == 1
	for _, stmt := range stmts {
		syntax.Walk(stmt, func(n syntax.Node) bool {
			if outer && n != nil {
				if _, ok := n.(*syntax.CallExpr); ok {
					r.at = n
				}
			}
			r.visit(n)
			return len(r.out.Programs) < maxPrograms
		})
	}
	if len(r.out.Programs) >= maxPrograms {
		r.unresolved("more programs than are read")
	}
	if failed != nil {
		r.unresolved("not parsable as bash: " + failed.Error())
	}
}

// assigns collects variables that are set to one static value.
func (r *reader) assigns(stmt *syntax.Stmt) {
	syntax.Walk(stmt, func(n syntax.Node) bool {
		switch n := n.(type) {
		case *syntax.Assign:
			r.assign(n)
		case *syntax.WordIter: // for x in …: one of several
			r.vars[n.Name.Value] = variable{}
		}
		return true
	})
}

func (r *reader) assign(a *syntax.Assign) {
	if a.Name == nil || a.Naked {
		return
	}
	v := variable{}
	if a.Array == nil && a.Index == nil && !a.Append {
		if a.Value == nil {
			v.static = true
		} else {
			// A value is not split in words.
			x := &expander{r: r}
			for _, p := range a.Value.Parts {
				if lit, ok := p.(*syntax.Lit); ok {
					text, _ := unescape(lit.Value)
					x.add(text)
				} else if q, ok := p.(*syntax.SglQuoted); ok && !q.Dollar {
					x.add(q.Value)
				} else if d, ok := p.(*syntax.DblQuoted); ok {
					for _, inner := range d.Parts {
						x.quoted(inner)
					}
				} else {
					x.quoted(p)
				}
			}
			v = variable{value: x.cur.text, static: !x.cur.dynamic}
		}
	}
	if old, set := r.vars[a.Name.Value]; set && old != v {
		v = variable{}
	}
	r.vars[a.Name.Value] = v
}

// visit handles what runs something; Walk brings it every node, those inside
// substitutions and functions too.
func (r *reader) visit(n syntax.Node) {
	switch n := n.(type) {
	case *syntax.CallExpr:
		if len(n.Args) > 0 {
			r.run(r.fields(n.Args), false)
		}
	case *syntax.Stmt:
		r.here(n)
	case *syntax.BinaryCmd:
		if n.Op == syntax.Pipe || n.Op == syntax.PipeAll {
			r.pipe(n)
		}
	}
}

// here reads a here-document or here-string that feeds a shell.
func (r *reader) here(stmt *syntax.Stmt) {
	if !r.readsScript(stmt) {
		return
	}
	for _, rd := range stmt.Redirs {
		word := rd.Hdoc
		if rd.Op == syntax.WordHdoc {
			word = rd.Word
		}
		if word == nil {
			continue
		}
		if text, ok := join(r.fields([]*syntax.Word{word})); ok {
			r.script(text)
		} else {
			r.unresolved("a shell reads a script that is known only when it runs")
		}
	}
}

// pipe reads `echo … | sh`.
func (r *reader) pipe(p *syntax.BinaryCmd) {
	if !r.readsScript(p.Y) {
		return
	}
	if call, ok := p.X.Cmd.(*syntax.CallExpr); ok {
		if text, ok := printed(r.fields(call.Args)); ok {
			r.script(text)
			return
		}
	}
	r.unresolved("a shell reads its commands from a pipe")
}

// readsScript tells whether a statement is a shell that reads commands from
// its standard input.
func (r *reader) readsScript(stmt *syntax.Stmt) bool {
	call, ok := stmt.Cmd.(*syntax.CallExpr)
	if !ok || len(call.Args) == 0 {
		return false
	}
	fs := r.fields(call.Args)
	for range maxDepth {
		if len(fs) == 0 || fs[0].dynamic {
			return false
		}
		if shells[base(fs[0].text)] {
			for _, f := range fs[1:] {
				if !strings.HasPrefix(f.text, "-") || strings.Contains(f.text, "c") && !strings.HasPrefix(f.text, "--") {
					return false
				}
			}
			return true
		}
		w, ok := wrappers[base(fs[0].text)]
		if !ok {
			return false
		}
		fs = w.rest(fs[1:])
	}
	return false
}
