package clients

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"

	"sallyport/test/clients/launch"
	"sallyport/test/fakes/modelserver"
)

// modelKey is what the model server wants to see.
const modelKey = "sk-model-0123456789abcdef"

// column is a way to reach the model.
type column struct {
	name   string
	judged bool // what is forbidden must have no effect
	// open gives the base URL and the key of a client.
	open func(t *testing.T, l *lab) (base, key string)
}

func columns() []column {
	return []column{
		{"direct", false, func(_ *testing.T, l *lab) (string, string) { return l.model.URL, modelKey }},
		{"proxy", true, openProxy},
	}
}

// lab is a directory to work in and a scripted model.
type lab struct {
	dir   string
	model *modelserver.Server
	proxy *launch.Proxy // nil in the column without
}

// newLab starts a model with a script. The directory is below /var/tmp: what is
// below /tmp would prove nothing about a sandbox.
func newLab(t *testing.T, replies ...modelserver.Reply) *lab {
	t.Helper()
	dir, err := os.MkdirTemp("/var/tmp", "clients-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return &lab{dir: dir, model: modelserver.NewScript(t, modelserver.Script{Replies: replies, Key: modelKey})}
}

// made tells which of the files exist that commands of the session made.
func (l *lab) made(t *testing.T) []string {
	t.Helper()
	list, err := os.ReadDir(l.dir)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range list {
		if strings.HasSuffix(e.Name(), ".txt") {
			out = append(out, e.Name())
		}
	}
	slices.Sort(out)
	return out
}

// call is a tool call that runs a command.
func call(id, command string) modelserver.Call {
	args, err := json.Marshal(map[string]string{"command": command})
	if err != nil {
		panic(err) // a string always has a form
	}
	return modelserver.Call{ID: id, Name: "run", Args: string(args)}
}

// usage of replies about which no test asks.
var usage = &modelserver.Usage{Input: 10, Output: 5}

// each runs a test for every client, mode and column.
func each(t *testing.T, f func(t *testing.T, c client, mode string, col column)) {
	installed(t)
	for _, col := range columns() {
		for _, c := range clients() {
			for _, mode := range modes {
				t.Run(col.name+"/"+c.name()+"/"+mode, func(t *testing.T) {
					t.Parallel()
					f(t, c, mode, col)
				})
			}
		}
	}
}
