package archtest

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "sallyport/"

// layer is a ring of rooms; a room is a folder below internal with all its
// subfolders.
type layer struct {
	name   string
	rooms  []string
	may    []string // rooms of ours it may reach, directly or through others
	reason string
}

var (
	vocabulary  = []string{"fault", "label", "principal", "action", "record"}
	decision    = []string{"policy", "scan", "provenance"}
	services    = []string{"approval", "audit", "vault", "sandbox", "egress", "llm", "store", "auth", "obs", "alert"}
	drivers     = []string{"agent", "guard", "llmproxy", "mcpproxy", "channel", "schedule", "web"}
	composition = []string{"app", "cli"}
)

func concat(lists ...[]string) []string { return slices.Concat(lists...) }

// layers is the import rule. A room not named here fails the test, so a new
// room is a conscious act.
func layers() []layer {
	return []layer{
		{"fault", []string{"fault"}, nil, "errors are below everything"},
		{"label", []string{"label"}, nil, "the lattice is below everything"},
		{"principal", []string{"principal"}, nil, "identities are below everything"},
		{"action", []string{"action"}, []string{"label", "principal"}, "an action carries labels and its principal"},
		{"record", []string{"record"}, []string{"action", "label", "principal"}, "records describe actions"},
		{"decision", decision, vocabulary, "deciding is pure: it reads nothing but its question"},
		{
			"services", services, concat(vocabulary, decision, []string{"obs"}),
			"services do not know each other, so each can be tested and replaced alone",
		},
		{"gate", []string{"gate"}, concat(vocabulary, decision, []string{"approval", "obs"}), "the monitor must not reach around its own ledger"},
		{
			"drivers", drivers, concat(vocabulary, decision, []string{"gate", "llm", "obs"}),
			"what starts actions must not be able to perform them",
		},
		{"config", []string{"config"}, []string{"fault", "label"}, "settings are plain values, app gives them meaning; only labels are read here, because their names are settings"},
		{
			"app",
			[]string{"app"},
			concat(vocabulary, decision, services, drivers, []string{"gate", "config"}),
			"the composition root sees every room, and nobody but cli sees it",
		},
		{
			"cli",
			[]string{"cli"},
			concat(vocabulary, decision, services, drivers, []string{"gate", "config", "app"}),
			"commands reach rooms through app",
		},
		{"archtest", []string{"archtest"}, nil, "tests only"},
	}
}

// direct narrows what a room may name itself; layers is about what it reaches.
var direct = map[string][]string{
	"cli": concat(vocabulary, []string{"app", "config"}),
}

type pkg struct {
	ImportPath string
	Imports    []string
	Deps       []string
}

func listPackages(t *testing.T) []pkg {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", "-json=ImportPath,Imports,Deps", module+"...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var all []pkg
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(p.ImportPath, module) {
			all = append(all, p)
		}
	}
}

// roomOf gives the room of an import path, "" if it is not ours or not below
// internal.
func roomOf(path string) string {
	rest, ok := strings.CutPrefix(path, module+"internal/")
	if !ok {
		return ""
	}
	room, _, _ := strings.Cut(rest, "/")
	return room
}

func TestImportRule(t *testing.T) {
	byRoom := map[string]layer{}
	for _, l := range layers() {
		for _, r := range l.rooms {
			byRoom[r] = l
		}
	}
	for _, p := range listPackages(t) {
		room := roomOf(p.ImportPath)
		if room == "" {
			continue
		}
		l, ok := byRoom[room]
		if !ok {
			t.Errorf("%s: room %q is in no layer; add it to the table with a reason", p.ImportPath, room)
			continue
		}
		for _, dep := range p.Deps {
			if r := roomOf(dep); r != "" && r != room && !slices.Contains(l.may, r) {
				t.Errorf("%s reaches %s: %s (%s)", p.ImportPath, dep, l.reason, l.name)
			}
		}
		if may, ok := direct[room]; ok {
			for _, imp := range p.Imports {
				if r := roomOf(imp); r != "" && r != room && !slices.Contains(may, r) {
					t.Errorf("%s imports %s: %s", p.ImportPath, imp, l.reason)
				}
			}
		}
	}
}

// TestOnlyComposition: app and config are seen by app and cli alone.
func TestOnlyComposition(t *testing.T) {
	for _, p := range listPackages(t) {
		for _, imp := range p.Imports {
			r := roomOf(imp)
			if (r == "app" || r == "config") && !slices.Contains(composition, roomOf(p.ImportPath)) && !strings.HasPrefix(p.ImportPath, module+"cmd/") {
				t.Errorf("%s imports %s: only app and cli may", p.ImportPath, imp)
			}
		}
	}
}

// TestVocabularyIsPlain: the words everybody shares need nothing but the
// standard library, so they can be read and reused anywhere.
func TestVocabularyIsPlain(t *testing.T) {
	for _, p := range listPackages(t) {
		if !slices.Contains(vocabulary, roomOf(p.ImportPath)) {
			continue
		}
		for _, dep := range p.Deps {
			if first, _, _ := strings.Cut(dep, "/"); strings.Contains(first, ".") {
				t.Errorf("%s reaches %s: the vocabulary uses the standard library only", p.ImportPath, dep)
			}
		}
	}
}

// TestDecisionIsPure: a decision must be a function of its question.
func TestDecisionIsPure(t *testing.T) {
	for _, p := range listPackages(t) {
		if !slices.Contains(decision, roomOf(p.ImportPath)) {
			continue
		}
		for _, imp := range p.Imports {
			if slices.Contains([]string{"os", "os/exec", "net", "net/http", "io/fs", "database/sql", "syscall"}, imp) {
				t.Errorf("%s imports %s: deciding does no I/O", p.ImportPath, imp)
			}
		}
	}
}
