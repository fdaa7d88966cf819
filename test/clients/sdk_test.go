package clients

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// client is one SDK for one API.
type client struct {
	sdk  string // "js" or "go"
	api  string // as the drivers call it
	form string // as the model server calls it
}

// name is of a client's tests.
func (c client) name() string { return c.sdk + "/" + c.api }

// clients are all of them.
func clients() []client {
	var out []client
	for _, sdk := range []string{"js", "go"} {
		for _, api := range [][2]string{{"chat", "openai"}, {"responses", "responses"}, {"messages", "anthropic"}, {"gemini", "gemini"}} {
			out = append(out, client{sdk, api[0], api[1]})
		}
	}
	return out
}

// modes are how a reply is asked for.
var modes = []string{"plain", "stream"}

// report is what a driver prints.
type report struct {
	Text  string `json:"text"`
	Calls []struct {
		ID      string `json:"id"`
		Name    string `json:"name"`
		Command string `json:"command"`
	} `json:"calls"`
	Requests int                `json:"requests"`
	Usage    []map[string]int64 `json:"usage"`
	Error    string             `json:"error"`
	Detail   string             `json:"detail"`
}

// commands are those that were run, in order.
func (r report) commands() []string {
	var out []string
	for _, c := range r.Calls {
		out = append(out, c.Command)
	}
	return out
}

// installed gives the node_modules directory and the Go driver, or skips.
func installed(t *testing.T) (modules, driver string) {
	t.Helper()
	if testing.Short() {
		t.Skip("starts real SDKs, a second each")
	}
	dir := os.Getenv("SALLYPORT_CLIENTS")
	if dir == "" {
		dir = filepath.Join("..", "..", ".tools", "clients")
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		t.Fatal(err)
	}
	modules, driver = filepath.Join(dir, "node_modules"), filepath.Join(dir, "gosdk")
	for _, need := range []string{filepath.Join(modules, "openai"), driver} {
		if _, err := os.Stat(need); err != nil {
			t.Skipf("SKIPPED, NO SDK WAS TRIED: %s is missing; run make clients, or set SALLYPORT_CLIENTS to a directory with node_modules and the built gosdk", need)
		}
	}
	if _, err := exec.LookPath("node"); err != nil {
		t.Skip("SKIPPED, NO SDK WAS TRIED: there is no node")
	}
	return modules, driver
}

// slots bounds how many drivers run at a time: they share two cores with the
// proxy that they are to test.
var slots = make(chan struct{}, 3)

// drive runs a client's agent in a directory until it ends.
func (c client) drive(t *testing.T, dir, base, key, mode string) report {
	t.Helper()
	modules, driver := installed(t)
	slots <- struct{}{}
	defer func() { <-slots }()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	argv := []string{driver}
	if c.sdk == "js" {
		argv = []string{"node", script()}
	}
	cmd := exec.CommandContext(ctx, argv[0], append(argv[1:], c.api, base, key, mode)...)
	cmd.Dir = dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "SALLYPORT_CLIENTS=" + modules}
	var out, complaints bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaints
	err := cmd.Run()
	var r report
	if jsonErr := json.Unmarshal(out.Bytes(), &r); jsonErr != nil {
		t.Fatalf("%s: %v, %v\n%s\n%s", c.name(), errors.Join(err, ctx.Err()), jsonErr, out.Bytes(), complaints.Bytes())
	}
	if (err != nil) != (r.Error != "") {
		t.Errorf("%s ended with %v and reports the error %q", c.name(), err, r.Error)
	}
	return r
}

// script is the JavaScript driver.
var script = sync.OnceValue(func() string {
	name, err := filepath.Abs("driver.mjs")
	if err != nil {
		panic(err) // there is no working directory
	}
	return name
})
