package app

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sallyport/internal/config"
	"sallyport/internal/fault"
	"sallyport/internal/label"
)

// TestNamesKeepTheirNumbers: labels are stored by number, so a name of the
// configuration may not move once the state directory knows it.
func TestNamesKeepTheirNumbers(t *testing.T) {
	for name, tt := range map[string]struct {
		levels, compartments []string // of the second start
		refused, notice      string
		kept                 []string // compartments remembered after it
	}{
		"the same":           {[]string{"open", "house"}, []string{"hr", "finance"}, "", "", []string{"hr", "finance"}},
		"more":               {[]string{"open", "house", "board"}, []string{"hr", "finance", "press"}, "", "", []string{"hr", "finance", "press"}},
		"swapped":            {nil, []string{"finance", "hr"}, "hr was number 0", "", nil},
		"one taken out":      {nil, []string{"finance"}, "hr was number 0", "", nil},
		"one put before":     {nil, []string{"press", "hr", "finance"}, "hr was number 0", "", nil},
		"another name":       {nil, []string{"hr", "money"}, "finance was number 1", "", nil},
		"the last taken out": {nil, []string{"hr"}, "", "does not name finance any more", []string{"hr", "finance"}},
		"all taken out":      {nil, nil, "", "shown as c0 and on", []string{"hr", "finance"}},
		"a level renamed":    {[]string{"public", "house"}, []string{"hr", "finance"}, "", "", []string{"hr", "finance"}},
		"levels swapped":     {[]string{"house", "open"}, []string{"hr", "finance"}, "open was number 0", "", nil},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			first := &config.Config{Labels: config.Labels{Levels: []string{"open", "house"}, Compartments: []string{"hr", "finance"}}}
			if err := keepNames(dir, first); err != nil {
				t.Fatal(err)
			}
			if st, err := os.Stat(filepath.Join(dir, labelsFile)); err != nil || st.Mode().Perm() != 0o600 {
				t.Errorf("the file is %v, %v", st, err)
			}
			cfg := &config.Config{Labels: config.Labels{Levels: tt.levels, Compartments: tt.compartments}}
			notice, err := checkNames(dir, cfg)
			kept := keepNames(dir, cfg)
			if tt.refused != "" {
				for _, err := range []error{err, kept} {
					if !fault.Is(err, fault.Config) || !strings.Contains(fault.PublicText(err), tt.refused) || !strings.Contains(fault.PublicText(err), "add new names at the end") {
						t.Errorf("error = %v", err)
					}
				}
				return
			}
			if err != nil || kept != nil || (notice == "") != (tt.notice == "") || !strings.Contains(notice, tt.notice) {
				t.Fatalf("notice %q, errors %v, %v", notice, err, kept)
			}
			got, err := readNames(dir)
			if diff := cmp.Diff(tt.kept, got.Compartments); diff != "" || err != nil {
				t.Errorf("%s %v", diff, err)
			}
		})
	}
}

// TestNamesAreChecked: every command sees a name that moved, and what the file
// says is not guessed when it cannot be read.
func TestNamesAreChecked(t *testing.T) {
	a := installation(t, "labels: {compartments: [hr, finance]}\n")
	if _, err := os.Stat(filepath.Join(a.Paths.Keys, labelsFile)); err == nil {
		t.Error("names are remembered before anything can be stored")
	}
	if _, err := a.Store(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	open := func(conf string) error {
		if err := os.WriteFile(filepath.Join(a.Paths.Home, "sallyport.yaml"), []byte(conf), 0o600); err != nil {
			t.Fatal(err)
		}
		b, err := Open(t.Context(), Options{Home: a.Paths.Home})
		if err == nil {
			err = b.Close()
		}
		return err
	}
	if err := open("labels: {compartments: [hr, finance, press]}\n"); err != nil {
		t.Errorf("a name at the end: %v", err)
	}
	if err := open("labels: {compartments: [finance, hr]}\n"); !fault.Is(err, fault.Config) {
		t.Errorf("names that moved: %v", err)
	}
	for _, text := range []string{"", "{", `{"compartments": ["HR"]}`, `{"compartments": ["hr"]} {}`, `{"names": []}`, `{"compartments": ["hr"]}` + strings.Repeat(" ", maxLabelsFile)} {
		if err := os.WriteFile(filepath.Join(a.Paths.Keys, labelsFile), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := open("labels: {compartments: [hr, finance]}\n"); !fault.Is(err, fault.Config) || !strings.Contains(fault.PublicText(err), "restore it from a backup") {
			t.Errorf("%.40q: %v", text, err)
		}
	}
}

func FuzzNames(f *testing.F) {
	for _, s := range []string{`{"levels":["open"],"compartments":["hr","finance"]}`, `{}`, `{"levels":null}`, `{"compartments":["c1"]}`, `[`, `{"x":1}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := parseNames(b)
		if err != nil {
			return
		}
		s := label.Scheme{Levels: r.Levels, Compartments: r.Compartments}
		for _, l := range []label.Label{label.Unlabelled, label.Bottom, label.New(label.Confidential, label.Member, 1|1<<63)} {
			if back, err := s.Parse(s.Format(l)); err != nil || back != l {
				t.Fatalf("%q: %s came back as %v, %v", b, s.Format(l), back, err)
			}
		}
		// What was remembered agrees with itself.
		if notice, err := r.check("x", config.Labels{Levels: r.Levels, Compartments: r.Compartments}); notice != "" || err != nil {
			t.Fatalf("%q: %q, %v", b, notice, err)
		}
	})
}
