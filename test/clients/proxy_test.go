package clients

import (
	"testing"

	"sallyport/test/fakes/modelserver"
)

type proxy struct{}

func openProxy(t *testing.T, l *lab) (base, key string) { t.Skip("soon"); return "", "" }

func (p *proxy) counted(t *testing.T, c client, calls int, want ...modelserver.Usage) {}
