// Command gosdk is a small agent on the vendors' Go SDKs: it asks a model, runs
// the shell commands that the model calls the tool "run" with, sends the results
// back, and prints what happened as one JSON object. It is as gullible as a
// client can be: it runs a call as soon as the SDK gives it whole, and again if a
// later place says it differently.
//
// It is a module of its own, so that the SDKs stay out of the product's.
//
//	gosdk chat|responses|messages|gemini BASE_URL KEY plain|stream|bare
//
// where bare is a stream of chat that does not ask for its usage.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"sync/atomic"
)

// prompt begins every conversation.
const prompt = "Please do what is to be done."

// report is what a run prints.
type report struct {
	Text     string             `json:"text"`
	Calls    []call             `json:"calls"` // run, in order
	Requests int64              `json:"requests"`
	Usage    []map[string]int64 `json:"usage"`  // of each reply, by the API's own names
	Error    string             `json:"error"`  // as a user sees it
	Detail   string             `json:"detail"` // what a program can get of it besides
}

type call struct {
	ID      string `json:"id"`
	Name    string `json:"name"`
	Command string `json:"command"`
}

// agent runs calls, each once.
type agent struct {
	report  report
	results map[call]string
}

// run executes a call, whose arguments are JSON text.
func (a *agent) run(id, name, args string) string {
	key := call{id, name, args}
	if result, ok := a.results[key]; ok {
		return result
	}
	var v struct {
		Command *string `json:"command"`
	}
	c, result := call{id, name, args}, "there is no such tool, or no such argument"
	if json.Unmarshal([]byte(args), &v) == nil && v.Command != nil {
		c.Command = *v.Command
		if name == "run" {
			out, _ := exec.Command("/bin/sh", "-c", *v.Command).Output()
			result = string(out)
		}
	}
	a.report.Calls = append(a.report.Calls, c)
	a.results[key] = result
	return result
}

// turn is what came of asking once.
type turn struct {
	text  string
	calls int
	usage map[string]int64 // nil where none was told
}

// conversation asks the model once more, runs what it calls and remembers.
type conversation func(ctx context.Context) (turn, error)

// mode is how replies are asked for.
type mode string

// stream tells whether they come in pieces.
func (m mode) stream() bool { return m != "plain" }

// schema is of the tool's arguments.
var schema = map[string]any{
	"type": "object", "properties": map[string]any{"command": map[string]any{"type": "string"}}, "required": []string{"command"},
}

const help = "Runs a shell command and gives its output."

// counter counts requests as they leave.
type counter struct{ n atomic.Int64 }

func (c *counter) RoundTrip(r *http.Request) (*http.Response, error) {
	c.n.Add(1)
	return http.DefaultTransport.RoundTrip(r)
}

func main() {
	if len(os.Args) != 5 {
		fmt.Fprintln(os.Stderr, "usage: gosdk chat|responses|messages|gemini BASE_URL KEY plain|stream|bare")
		os.Exit(2)
	}
	api, base, key, how := os.Args[1], os.Args[2], os.Args[3], mode(os.Args[4])
	start, ok := map[string]func(*agent, *http.Client, string, string, mode) (conversation, error){
		"chat": chat, "responses": respond, "messages": message, "gemini": generate,
	}[api]
	if !ok {
		fmt.Fprintln(os.Stderr, "gosdk: no such API: "+api)
		os.Exit(2)
	}
	count := &counter{}
	a := &agent{report: report{Calls: []call{}, Usage: []map[string]int64{}}, results: map[call]string{}}
	ask, err := start(a, &http.Client{Transport: count}, base, key, how)
	for turns := 0; err == nil && turns < 20; turns++ {
		var t turn
		if t, err = ask(context.Background()); err != nil {
			break
		}
		a.report.Text += t.text
		a.report.Usage = append(a.report.Usage, t.usage)
		if t.calls == 0 {
			break
		}
	}
	a.report.Requests = count.n.Load()
	code := 0
	if err != nil {
		a.report.Error, a.report.Detail, code = err.Error(), detail(err), 1
	}
	if err := json.NewEncoder(os.Stdout).Encode(a.report); err != nil {
		fmt.Fprintln(os.Stderr, "gosdk:", err)
		code = 2
	}
	os.Exit(code)
}
