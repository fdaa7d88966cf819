package archtest

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const (
	maxFileLines = 500
	maxFuncLines = 60
)

const root = "../.."

// eachFile calls f for every file of the tree that git would track.
func eachFile(t *testing.T, suffix string, f func(path string, data []byte)) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name := d.Name(); name == ".git" || name == ".tools" || name == "node_modules" || name == "bin" {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(path, suffix) || !d.Type().IsRegular() {
			return nil
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		f(path, data)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// exempt reads the reason in a "//archtest:ignore size: reason" comment.
var exempt = regexp.MustCompile(`(?m)^//archtest:ignore size: \S.{10,}`)

func TestSizes(t *testing.T) {
	eachFile(t, ".go", func(path string, data []byte) {
		if exempt.Match(data) {
			return
		}
		if n := bytes.Count(data, []byte("\n")); n > maxFileLines {
			t.Errorf("%s has %d lines, the budget is %d", path, n, maxFileLines)
		}
		if strings.HasSuffix(path, "_test.go") {
			return
		}
		fset := token.NewFileSet()
		file, err := parser.ParseFile(fset, path, data, parser.SkipObjectResolution)
		if err != nil {
			t.Error(err)
			return
		}
		for _, d := range file.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok || fn.Body == nil || isTable(fn.Body) {
				continue
			}
			if n := fset.Position(fn.End()).Line - fset.Position(fn.Pos()).Line + 1; n > maxFuncLines {
				t.Errorf("%s: %s has %d lines, the budget is %d", path, fn.Name.Name, n, maxFuncLines)
			}
		}
	})
}

// isTable tells a function that only returns a literal: a table of data, which
// is no harder to read for being long.
func isTable(body *ast.BlockStmt) bool {
	if len(body.List) != 1 {
		return false
	}
	ret, ok := body.List[0].(*ast.ReturnStmt)
	if !ok || len(ret.Results) != 1 {
		return false
	}
	_, ok = ret.Results[0].(*ast.CompositeLit)
	return ok
}

// TestPackageNames refuses drawers without a label.
func TestPackageNames(t *testing.T) {
	vague := regexp.MustCompile(`(?m)^package (utils?|common|core|types|managers?|helpers?|misc|base)$`)
	registering := regexp.MustCompile(`(?m)^func init\(\)`)
	eachFile(t, ".go", func(path string, data []byte) {
		if m := vague.Find(data); m != nil {
			t.Errorf("%s: %s says nothing; name the thing", path, m)
		}
		if registering.Match(data) {
			t.Errorf("%s: init hides wiring; call it from app", path)
		}
	})
}

// TestEveryPackageIsDocumented: a reader starts at the package doc.
func TestEveryPackageIsDocumented(t *testing.T) {
	documented, seen := map[string]bool{}, map[string]bool{}
	doc := regexp.MustCompile(`(?m)^(// Package |// Command )\w+ `)
	eachFile(t, ".go", func(path string, data []byte) {
		dir := filepath.Dir(path)
		if strings.HasSuffix(path, "_test.go") {
			return
		}
		seen[dir] = true
		if doc.Match(data) {
			documented[dir] = true
		}
	})
	for dir := range seen {
		if !documented[dir] {
			t.Errorf("%s has no package documentation", dir)
		}
	}
}
