package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"sallyport/test/fakes/modelserver"
)

const agencyExample = "../../examples/agency"

// mind is a model that an attacker wrote: each step sees all that it was shown
// and says what to do.
type mind struct {
	mu    sync.Mutex
	steps []func(seen string) string
	seen  []string // what it was shown, one request after the other
}

// ServeHTTP answers in the provider's form.
func (m *mind) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	text := flat(modelserver.Request{Body: body})
	m.mu.Lock()
	m.seen = append(m.seen, text)
	reply := "pause 1"
	if len(m.steps) > 0 {
		reply = m.steps[0](text)
		m.steps = m.steps[1:]
	}
	m.mu.Unlock()
	r.Body = io.NopCloser(strings.NewReader(string(body)))
	modelserver.Handler(modelserver.Script{Replies: []modelserver.Reply{say(reply)}}).ServeHTTP(w, r)
}

func (m *mind) thinks(steps ...any) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.steps, m.seen = nil, nil
	for _, s := range steps {
		switch s := s.(type) {
		case string:
			m.steps = append(m.steps, func(string) string { return s })
		case func(string) string:
			m.steps = append(m.steps, s)
		}
	}
}

func (m *mind) was() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return strings.Join(m.seen, "\n=====\n")
}

// agency is the example's organisation with its models and its outside.
type agency struct {
	*lab
	inside, outside *mind
	press           *press
	news            string          // address of the press, as the scout knows it
	everything      strings.Builder // that the outside model was ever shown
}

// press is where the scout publishes: whatever reaches it is public.
type press struct {
	mu  sync.Mutex
	got strings.Builder
}

func (p *press) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	p.mu.Lock()
	defer p.mu.Unlock()
	fmt.Fprintf(&p.got, "%s %s %v %s\n", r.Method, r.URL, r.Header, body)
	_, _ = io.WriteString(w, "published\n")
}

func (p *press) text() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.got.String()
}

// newAgency takes the example's files, changed as a test needs.
func newAgency(t *testing.T, change *strings.Replacer) *agency {
	t.Helper()
	a := &agency{lab: newLab(t), inside: &mind{}, outside: &mind{}, press: &press{}}
	a.started = true // its files are the example's
	conf, err := os.ReadFile(filepath.Join(agencyExample, "sallyport.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	text := string(conf)
	if change != nil {
		text = change.Replace(text)
	}
	for port, h := range map[string]http.Handler{"8401": a.inside, "8402": a.outside, "8403": a.press} {
		s := httptest.NewServer(h)
		t.Cleanup(s.Close)
		free := s.URL[strings.LastIndex(s.URL, ":")+1:]
		text = strings.ReplaceAll(text, port, free)
		if port == "8403" {
			a.news = "http://news.example.org:" + free + "/"
		}
	}
	a.write("sallyport.yaml", text)
	for _, name := range []string{"chief", "reviewer", "scout"} {
		b, err := os.ReadFile(filepath.Join(agencyExample, name+".yaml"))
		if err != nil {
			t.Fatal(err)
		}
		a.write(name+".yaml", string(b))
	}
	return a
}

// tell is a line of the story, for who runs the example.
func (a *agency) tell(format string, args ...any) {
	fmt.Fprintf(a.t.Output(), "\n== "+format+"\n", args...)
}

// does runs a command that the story shows.
func (a *agency) does(code int, args ...string) result {
	a.t.Helper()
	args = append([]string{"--config", a.file("sallyport.yaml")}, args...)
	r := a.call(args...)
	shown := strings.ReplaceAll(strings.Join(args[2:], " "), a.dir+"/", "")
	fmt.Fprintf(a.t.Output(), "$ sallyport %s\n%s", shown, indented(strings.ReplaceAll(r.out+r.err, a.dir+"/", "")))
	if r.code != code {
		a.t.Fatalf("sallyport %s: exit %d, want %d\n%s", shown, r.code, code, tail(r.text()))
	}
	return r
}

func indented(s string) string {
	var b strings.Builder
	for line := range strings.Lines(s) {
		b.WriteString("    " + line)
	}
	if s != "" && !strings.HasSuffix(s, "\n") {
		b.WriteByte('\n')
	}
	return b.String()
}

// runs lets an agent work once.
func (a *agency) runs(name string) result {
	a.t.Helper()
	r := a.does(codeOK, "run", a.file(name+".yaml"), "--once", "--unattended")
	a.everything.WriteString(a.outside.was())
	return r
}

// person makes a key and puts its holder into the trust file.
func (a *agency) person(name string) (key string) {
	a.t.Helper()
	key = filepath.Join(a.dir, name)
	if out, err := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", key).CombinedOutput(); err != nil {
		a.t.Fatalf("ssh-keygen: %v\n%s", err, out)
	}
	a.does(codeOK, "trust", "add-person", name, "--key", key+".pub", "--group", "owner", "--clearance", "secret{payroll}")
	return key
}

// waits gives the id of the one question that is open.
func (a *agency) waits(kind string) string {
	a.t.Helper()
	var v struct{ Approvals []asked }
	r := a.call("--config", a.file("sallyport.yaml"), "approvals", "--json")
	if err := json.Unmarshal([]byte(r.out), &v); err != nil {
		a.t.Fatalf("%v\n%s", err, r.text())
	}
	for _, x := range v.Approvals {
		if x.Kind == kind && x.State == "open" {
			return x.ID
		}
	}
	a.t.Fatalf("no %s waits: %s", kind, r.out)
	return ""
}

// Handles as models see them.
var (
	handleOf  = regexp.MustCompile(`\bo-[0-9a-z]{20}\b`)
	messageOf = regexp.MustCompile(`\bm-[0-9a-z]{20}\b`)
)

func last(list []string) string {
	if len(list) == 0 {
		return ""
	}
	return list[len(list)-1]
}
