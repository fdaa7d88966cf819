package clients

import (
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sallyport/test/clients/launch"
	"sallyport/test/fakes/modelserver"
)

func TestMain(m *testing.M) {
	code := m.Run()
	launch.Clean()
	os.Exit(code)
}

// openProxy starts a proxy in front of the lab's model.
func openProxy(t *testing.T, l *lab) (base, key string) {
	t.Helper()
	l.proxy = launch.Start(t, l.dir, modelKey, launch.Settings(t, l.model.URL, nil))
	return l.proxy.Base, l.proxy.Key
}

// counted ends the proxy and checks what the log says of the model calls that
// used something: how many, and the figures of all together.
func counted(t *testing.T, p *launch.Proxy, c client, calls int, want ...modelserver.Usage) {
	t.Helper()
	p.Stop(t)
	var sum, got modelserver.Usage
	add := func(to *modelserver.Usage, u modelserver.Usage) {
		to.Input += u.Input
		to.Output += u.Output
		to.CacheRead += u.CacheRead
		to.CacheWrite += u.CacheWrite
		to.Reasoning += u.Reasoning
	}
	for _, u := range want {
		if c.api != "messages" {
			u.CacheWrite = 0 // no other API has it
		}
		add(&sum, u)
	}
	n := 0
	for _, e := range p.Events(t) {
		u := e.Data.Result.Usage
		if e.Data.Kind != "model.call" || u.Input+u.Output == 0 || e.Data.Result.Before {
			continue
		}
		n++
		add(&got, modelserver.Usage(u))
	}
	if d := cmp.Diff(sum, got); d != "" || n != calls {
		t.Errorf("counted in %d calls, not %d (-want +got)\n%s", n, calls, d)
	}
}
