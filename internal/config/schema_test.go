package config

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/jsonschema-go/jsonschema"

	"sallyport/internal/fault"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func TestSchemaGolden(t *testing.T) {
	for _, which := range []string{"config", "agent", "profile"} {
		got, err := Schema(which)
		if err != nil {
			t.Fatal(err)
		}
		golden := filepath.Join("testdata", "schema-"+which+".json")
		if *update {
			if err := os.WriteFile(golden, got, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), string(got)); diff != "" {
			t.Errorf("%s (run with -update after checking):\n%s", golden, diff)
		}
	}
	if _, err := Schema("x"); !fault.Is(err, fault.Usage) {
		t.Errorf("unknown schema: %v", err)
	}
}

func resolved(t *testing.T, which string) *jsonschema.Resolved {
	t.Helper()
	raw, err := Schema(which)
	if err != nil {
		t.Fatal(err)
	}
	var s jsonschema.Schema
	if err := json.Unmarshal(raw, &s); err != nil {
		t.Fatal(err)
	}
	r, err := s.Resolve(nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// jsonValue is the file as a JSON Schema validator sees it.
func jsonValue(t *testing.T, name string, data []byte) any {
	t.Helper()
	root, _, err := parseTree(name, data)
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(root.plain())
	if err != nil {
		t.Fatal(err)
	}
	var v any
	if err := json.Unmarshal(b, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

// The schema and the reader agree: what one accepts, the other does.
func TestSchemaAgreesWithReader(t *testing.T) {
	config, agent := resolved(t, "config"), resolved(t, "agent")
	files, err := filepath.Glob(filepath.Join("testdata", "seed", "*"))
	if err != nil {
		t.Fatal(err)
	}
	files = append(files, filepath.Join("..", "..", "examples", "sallyport.yaml"), filepath.Join("..", "..", "examples", "proxy.yaml"))
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		python := strings.Contains(string(data), `"enable_python_exec": true`) // const: false in the schema
		if err := config.Validate(jsonValue(t, f, data)); (err != nil) != python {
			t.Errorf("%s: %v", f, err)
		}
	}
	if err := config.Validate(jsonValue(t, "d.yaml", DefaultFile())); err != nil {
		t.Errorf("default file: %v", err)
	}
	for _, bad := range []string{
		`{"security": {"allowed_file_paths": "/"}}`, `{"nope": 1}`, `{"tools": {"command_timeout": 0}}`,
		`{"readOnlyMode": "yes"}`, `{"models": {"x": {"model": "y"}}}`, `{"logging": {"level": "loud"}}`,
		`{"profiles": {"Root": {}}}`, `{"spendLimitDollars": 0}`, `{"web": {"auth": ["a"]}}`,
	} {
		if config.Validate(jsonValue(t, "c.json", []byte(bad))) == nil {
			t.Errorf("the schema accepts %s", bad)
		}
		if _, err := Parse("c.json", []byte(bad)); err == nil {
			t.Errorf("the reader accepts %s", bad)
		}
	}
	night, err := os.ReadFile(filepath.Join("..", "..", "examples", "nightwatch.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	now := "dialect: 3\nusername: sam\ntitle: T\nshellModel: m\nagentPrompt: p\ntokenMax: 10\n"
	for _, tt := range []struct {
		in string
		ok bool
	}{
		{string(night), true},
		{now, true},
		{now + "debugPauseSeconds: 0\n", true},
		{goodAgent + "debugPauseSeconds: 0.5\n", true},
		{now + "webModel: x\n", false},
		{now + "debugPauseSeconds: 0.5\n", false},
		{strings.Replace(goodAgent, "webModel", "webbModel", 1), false},
		{strings.Replace(goodAgent, "6000", "many", 1), false},
	} {
		err := agent.Validate(jsonValue(t, "a.yaml", []byte(tt.in)))
		if (err == nil) != tt.ok {
			t.Errorf("schema on %q: %v", tt.in, err)
		}
		if _, err := ParseAgent("a.yaml", []byte(tt.in), testEnv()); (err == nil) != tt.ok {
			t.Errorf("reader on %q: %v", tt.in, err)
		}
	}
}

// Every key says what it means, and every range is one.
func TestTablesAreComplete(t *testing.T) {
	var walk func(path string, s *spec)
	walk = func(path string, s *spec) {
		if s.doc == "" || s.max < s.min || s.kind == sList && s.elem == nil || s.pattern != nil && s.form == "" {
			t.Errorf("%s: incomplete row: %+v", path, s)
		}
		seen := map[string]bool{}
		for _, f := range s.fields {
			if seen[f.name] {
				t.Errorf("%s.%s: twice in the table", path, f.name)
			}
			seen[f.name] = true
			walk(path+"."+f.name, f.spec)
		}
		if s.elem != nil {
			walk(path+"[]", s.elem)
		}
	}
	walk("config", configSpec())
	walk("profile", profileSpec())
	walk("agent1", agentSpec(Dialect2024))
	walk("agent3", agentSpec(DialectNow))
}
