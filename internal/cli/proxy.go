package cli

import (
	"context"
	"errors"
	"os"
	"os/signal"

	"sallyport/internal/app"
)

// proxyCmd is `sallyport proxy`.
type proxyCmd struct {
	Listen string `placeholder:"HOST:PORT" help:"Where to listen; default: proxy.listen of the configuration (127.0.0.1:4117)."`
}

// Help teaches.
func (proxyCmd) Help() string {
	return `Stands between clients and models: OpenAI Chat Completions and Responses, Anthropic
Messages, Gemini. Each model call, and each tool call in a reply, is judged before
anybody can act on it, priced, limited and recorded. Clients put its address into
their base URL and a key of ` + "`sallyport keys create`" + ` into their API key; the
providers' keys stay here (ANTHROPIC_API_KEY, OPENAI_API_KEY, GOOGLE_API_KEY, or
what proxy.upstreams names). It also serves POST /v1/events (foreign events),
GET /metrics (Prometheus) and GET /healthz. Ctrl-C lets open calls end for half a
minute, a second one cuts them. --json writes one line, {"listening": "HOST:PORT"},
once it listens. Examples:
  sallyport proxy
  ANTHROPIC_BASE_URL=http://127.0.0.1:4117 ANTHROPIC_API_KEY=$KEY claude`
}

// Run serves until Ctrl-C.
func (p proxyCmd) Run(c *call) error {
	a, err := c.open("", true)
	if err != nil {
		return err
	}
	c.replaced(a)
	err = a.Proxy(c.ctx, app.ProxyOptions{Listen: p.Listen, Out: c.err, Cut: pressed(c.ctx), Ready: p.ready(c)})
	return errors.Join(err, a.Close())
}

// ready tells a program where to find the proxy.
func (proxyCmd) ready(c *call) func(addr string) {
	if !c.flags.JSON {
		return nil
	}
	return func(addr string) { _ = c.jsonLine(map[string]any{"listening": addr, "pid": os.Getpid()}) } // the output remembers what failed
}

// pressed is closed by the first Ctrl-C after ctx ended.
func pressed(ctx context.Context) <-chan struct{} {
	out, press := make(chan struct{}), make(chan os.Signal, 1)
	context.AfterFunc(ctx, func() {
		signal.Notify(press, os.Interrupt)
		<-press
		close(out)
	})
	return out
}
