package config

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sallyport/internal/fault"
)

func addSeeds(f *testing.F) {
	f.Helper()
	files, err := filepath.Glob(filepath.Join("testdata", "seed", "*"))
	if err != nil {
		f.Fatal(err)
	}
	files = append(files, filepath.Join("..", "..", "examples", "nightwatch.yaml"), filepath.Join("..", "..", "examples", "sallyport.yaml"))
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add(defaultFile)
	f.Add([]byte("a: &x [*x]\n"))
	f.Add([]byte("{\"a\": [1, // c\n /* d */ \"\\u00e9\"],}"))
	f.Add([]byte("? a\n: |\n  b\n- c\n"))
	f.Add([]byte(goodAgent + "city: x\ninitialCommands: [\"${agent.city}${env.SITE}\"]\n"))
}

// wellFormed checks what every refusal must be: of kind config, in bounds, with
// a remedy and without anything a terminal would act on.
func wellFormed(t *testing.T, err error, data []byte) {
	t.Helper()
	if fault.KindOf(err) != fault.Config {
		t.Fatalf("kind %v: %v", fault.KindOf(err), err)
	}
	var es Errors
	if !errors.As(err, &es) {
		var e *Error
		if !errors.As(err, &e) {
			t.Fatalf("%T: %v", err, err)
		}
		es = Errors{e}
	}
	lines := bytes.Count(data, []byte("\n")) + 1
	for _, e := range es {
		if e.Problem == "" || e.Remedy == "" || e.Pos.Line < 0 || e.Pos.Column < 0 || e.Pos.Line > lines+1 {
			t.Fatalf("malformed: %+v", e)
		}
		if strings.ContainsAny(e.Source, "\x1b\x00\x07") {
			t.Fatalf("control characters in %q", e.Source)
		}
	}
}

func FuzzParse(f *testing.F) {
	addSeeds(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, name := range []string{"c.yaml", "c.json"} {
			cfg, err := Parse(name, data)
			if err != nil {
				wellFormed(t, err, data)
				continue
			}
			if cfg.Profiles["auditor"].RequiredTier == "" || cfg.Security.EnablePythonExec || cfg.Tools.CommandTimeout < 1 {
				t.Fatalf("an unsafe or empty setting came through: %+v", cfg)
			}
			cfg.Problems(true)
		}
	})
}

func FuzzParseAgent(f *testing.F) {
	addSeeds(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		a, err := ParseAgent("a.yaml", data, testEnv())
		if err != nil {
			wellFormed(t, err, data)
			return
		}
		if !envName.MatchString("x"+strings.ReplaceAll(a.Username, "-", "_")) || len(a.Username) > 32 || a.TokenMax < 1 || a.SpendLimitDollars < 0 {
			t.Fatalf("came through: %+v", a)
		}
		if strings.Contains(a.AgentPrompt, "not-for-models") {
			t.Fatal("a key came into a prompt")
		}
	})
}

func FuzzParseDotenv(f *testing.F) {
	f.Add([]byte("A=1\nexport B=\"x\ny\" # c\nC='z'\n"))
	f.Add([]byte("A=\"\\"))
	f.Add([]byte("export\nexport =\n=x\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		vars, err := ParseDotenv(".env", data)
		if err != nil {
			wellFormed(t, err, data)
			return
		}
		for k := range vars {
			if !envName.MatchString(k) {
				t.Fatalf("name %q", k)
			}
		}
	})
}
