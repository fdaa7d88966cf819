package e2e

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// lies lists the files below a directory that hold the text.
func lies(t *testing.T, dir, text string) []string {
	t.Helper()
	var out []string
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		if err == nil && (bytes.Contains(b, []byte(text)) || strings.Contains(path, text)) {
			out = append(out, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestNothingOfTheSecretLiesOpen: a model that has read the secret puts it into
// every word that it can say. None of the state directory's files holds it
// then, neither the database and its journal nor the readable log.
func TestNothingOfTheSecretLiesOpen(t *testing.T) {
	t.Parallel()
	a := newAgency(t, nil)
	alice, _ := a.found()
	a.does(codeOK, "instruct", "--to", "chief", "--clearance", "secret{payroll}", "--key", alice, "Read the item payroll.")
	a.inside.thinks(`read --taint payroll`,
		`comment "`+canary+`"`, `talk "`+canary+`"`, `read `+canary, `read --taint mail/`+canary+`/edge`, `inbox `+canary, `open `+canary,
		`send `+canary+` "x"`, `send scout "`+canary+`"`, `spawn `+canary+` "x"`, `spawn scout "`+canary+`"`,
		`extract payroll --choices `+canary+`,b "`+canary+`"`, canary, `lower `+canary+` public "x"`,
		`keep "`+canary+`"`, canary, `echo `+canary, `spawn chief "`+canary+`"`, `pause 1`)
	a.runs("chief")
	a.has("the model inside", a.inside.was(), canary)
	for _, path := range lies(t, a.home, canary) {
		b, _ := os.ReadFile(path)
		i := bytes.Index(b, []byte(canary))
		t.Errorf("%s holds it: ...%q", path, b[max(0, i-300):min(len(b), i+200)])
	}
}

// TestRecordingEndsWhenASessionIsRaised: what the terminal of a guarded program
// showed is kept in the clear, so not from where it may show a secret.
func TestRecordingEndsWhenASessionIsRaised(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	host, _, _ := classified(t, l)
	recorded := func() string {
		t.Helper()
		var b strings.Builder
		for _, path := range lies(t, filepath.Join(l.home, "transcripts"), "\n") {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			b.Write(text)
		}
		return b.String()
	}
	sits := func(script string) {
		t.Helper()
		k := l.sit("guard", "--config", l.file("sallyport.yaml"), "--workdir", l.workdir(), "--as", "clerk", "--", "bash", "--norc", "-c", script)
		k.sees("it-ends")
		k.wait(patience)
	}
	sits(opens + "echo before-it; sleep 1; ask hr; cat " + host + "/pay; cp " + host + "/pay ~/kept; echo it-en''ds")
	first := recorded()
	l.has("the recording", first, "before-it", "the recording ends here")
	l.lacks("the recording", first, "salary-canary")
	sits("cat ~/kept; echo it-en''ds") // its home makes it one that knows from the start
	l.lacks("the recordings", recorded(), "salary-canary")
}
