package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sallyport/internal/fault"
)

func TestParseDotenv(t *testing.T) {
	in := "\ufeff# comment\r\nNAISYS_FOLDER=\"/var/naisys\"\r\n\nOPENAI_API_KEY=\"...\"\nexport GOOGLE_API_KEY=abc#def # real comment\n" +
		"  SPACED = 'a # b' # c\nBACK=`x \"y\" 'z'`\nEMPTY=\nMULTI=\"one\ntwo\"\nESC=\"a\\nb\\\"c\\\\d\\e\"\nRAW='a\\nb'\nexport=1\nHASH=#x\nEQ=a=b==\nNOT=${HOME}\nLAST=end"
	got, err := ParseDotenv(".env", []byte(in))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"NAISYS_FOLDER": "/var/naisys", "OPENAI_API_KEY": "...", "GOOGLE_API_KEY": "abc#def", "SPACED": "a # b",
		"BACK": `x "y" 'z'`, "EMPTY": "", "MULTI": "one\ntwo", "ESC": "a\nb\"c\\d\\e", "RAW": `a\nb`, "export": "1",
		"HASH": "", "EQ": "a=b==", "NOT": "${HOME}", "LAST": "end",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestBadDotenv(t *testing.T) {
	const secret = "fake-value-never-shown"
	for _, tt := range []struct {
		name, in string
		line     int
		says     string
	}{
		{"no equals sign", "A=1\n" + secret + "\n", 2, "is not NAME=value"},
		{"bad name", "A-B=" + secret, 1, "variable's name"},
		{"digit first", "1A=" + secret, 1, "variable's name"},
		{"open quote", "A=1\n\nB=\"" + secret + "\nmore", 3, "not closed"},
		{"after the quote", "A='x' " + secret, 1, "follows the closing quote"},
		{"twice", "A=\"1\n2\"\nA=" + secret, 3, "already set in line 1"},
		{"not UTF-8", "A=" + secret + "\xff", 1, "UTF-8"},
		{"zero byte", "A=" + secret + "\x00", 1, "zero byte"},
		{"only export", "export " + secret, 1, "is not NAME=value"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := ParseDotenv(".env", []byte(tt.in))
			es := flat(t, err)
			if len(es) != 1 || es[0].Pos.Line != tt.line || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("err = %v, want line %d and %q", err, tt.line, tt.says)
			}
			if strings.Contains(err.Error(), secret) {
				t.Errorf("the error shows a value: %v", err)
			}
		})
	}
}

func TestLoadEnv(t *testing.T) {
	dir := t.TempDir()
	near, far := filepath.Join(dir, "near.env"), filepath.Join(dir, "far.env")
	write := func(p, text string, mode os.FileMode) {
		t.Helper()
		if err := os.WriteFile(p, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(p, mode); err != nil {
			t.Fatal(err)
		}
	}
	write(near, "A=near\nB=near\nSALLYPORT_HOME=/evil\n", 0o600)
	write(far, "A=far\nC=far\nNAISYS_FOLDER=/var/naisys/\n", 0o644)
	e, err := LoadEnv([]string{filepath.Join(dir, "none.env"), near, far}, []string{"B=process", "HOME=/home/u"})
	if err != nil {
		t.Fatal(err)
	}
	for k, want := range map[string]string{"A": "near", "B": "process", "C": "far"} {
		if got, ok := e.Lookup(k); !ok || got != want {
			t.Errorf("%s = %q, %v; want %q", k, got, ok, want)
		}
	}
	if _, ok := e.Lookup("SALLYPORT_HOME"); ok {
		t.Error("a .env file moved the state directory")
	}
	if len(e.Notices) != 2 || !strings.Contains(e.Notices[1], "chmod 600") {
		t.Errorf("notices = %q", e.Notices)
	}
	if got := e.NAISYSFolder("/s"); got != "/var/naisys" {
		t.Errorf("folder = %q", got)
	}
	if _, err := LoadEnv(nil, []string{"NAISYS_FOLDER=here"}); fault.KindOf(err) != fault.Config {
		t.Errorf("relative folder: %v", err)
	}
	if _, err := LoadEnv([]string{dir}, nil); fault.KindOf(err) != fault.Config {
		t.Errorf("directory as .env: %v", err)
	}
	plain, err := LoadEnv(nil, []string{"HOME=/home/u", "NAISYS_FOLDER="})
	if err != nil {
		t.Fatal(err)
	}
	if got, terr := expand("${env.NAISYS_FOLDER}/r", nil, plain); terr != nil || got != "/home/u/.sallyport/r" {
		t.Errorf("default folder: %q, %v", got, terr)
	}
	if got, terr := expand("${env.NAISYS_FOLDER}", nil, plain.WithStateDir("/s")); terr != nil || got != "/s" {
		t.Errorf("folder with --state-dir: %q, %v", got, terr)
	}
}

func TestStateDir(t *testing.T) {
	for _, tt := range []struct {
		explicit string
		environ  []string
		want     string
	}{
		{"/x", []string{"SALLYPORT_HOME=/y", "HOME=/h"}, "/x"},
		{"", []string{"SALLYPORT_HOME=/y", "HOME=/h"}, "/y"},
		{"", []string{"SALLYPORT_HOME=", "HOME=/h"}, "/h/.sallyport"},
	} {
		if got := StateDir(tt.explicit, tt.environ); got != tt.want {
			t.Errorf("StateDir(%q, %q) = %q, want %q", tt.explicit, tt.environ, got, tt.want)
		}
	}
	if got := StateDir("rel", nil); !filepath.IsAbs(got) {
		t.Errorf("relative: %q", got)
	}
}

func TestTemplatesRefuseSecrets(t *testing.T) {
	env := NewEnv(map[string]string{"X": "1"}, "")
	for _, name := range []string{"OPENAI_API_KEY", "openai_api_key", "APIKEY", "GH_TOKEN", "DB_PASSWORD", "SECRET", "AWS_SECRET_ACCESS_KEY"} {
		if _, terr := expand("${env."+name+"}", nil, env); terr == nil || !strings.Contains(terr.problem, "secret") {
			t.Errorf("%s: %+v", name, terr)
		}
	}
	for _, name := range []string{"MONKEY", "TOKEN_MAX", "KEYBOARD"} {
		if _, terr := expand("${env."+name+"}", nil, NewEnv(map[string]string{name: "v"}, "")); terr != nil {
			t.Errorf("%s: %+v", name, terr)
		}
	}
}
