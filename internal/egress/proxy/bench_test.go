package proxy

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"testing"
)

// nodding permits everything and writes nothing down.
type nodding struct{}

func (nodding) Connect(context.Context, Dest) (Passage, error) { return nodding{}, nil }

func (nodding) Request(context.Context, Dest, *RequestInfo) (Passage, error) { return nodding{}, nil }

func (nodding) End(Stats) {}

// benchWorld is a world whose every connection goes to goal.
func benchWorld(b *testing.B, goal string) *world {
	to := netip.MustParseAddrPort(goal)
	return newWorld(b, func(c *Config) {
		c.Judge = nodding{}
		c.Original = func(net.Conn) (netip.AddrPort, bool) { return to, true }
	})
}

// BenchmarkConnectAndGet is a new connection and one request on it.
func BenchmarkConnectAndGet(b *testing.B) {
	w := benchWorld(b, "198.18.0.1:80")
	s := w.web(func(rw http.ResponseWriter, _ *http.Request) { io.WriteString(rw, "hello") }, "good.test:80")
	buf := make([]byte, 4096)
	one := func(b *testing.B, addr string) {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			b.Fatal(err)
		}
		io.WriteString(c, "GET / HTTP/1.1\r\nHost: good.test\r\nConnection: close\r\n\r\n")
		for err == nil {
			_, err = c.Read(buf)
		}
		if err != io.EOF { //nolint:errorlint // exactly this
			b.Fatal(err)
		}
		c.Close()
	}
	for name, addr := range map[string]string{"direct": s.Listener.Addr().String(), "proxy": w.addr} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				one(b, addr)
			}
		})
	}
}

// BenchmarkConnect is a new tunnel and one byte each way through it.
func BenchmarkConnect(b *testing.B) {
	w := benchWorld(b, "198.18.0.1:9000")
	echo := w.raw(func(c *net.TCPConn) { io.Copy(c, c) }, "good.test:9000")
	for name, addr := range map[string]string{"direct": echo, "proxy": w.addr} {
		b.Run(name, func(b *testing.B) {
			one := make([]byte, 1)
			for b.Loop() {
				c, err := net.Dial("tcp", addr)
				if err != nil {
					b.Fatal(err)
				}
				c.Write(one)
				if _, err := io.ReadFull(c, one); err != nil {
					b.Fatal(err)
				}
				c.Close()
			}
		})
	}
}

// BenchmarkThroughput downloads through a tunnel and as an HTTP body.
func BenchmarkThroughput(b *testing.B) {
	const size = 256 << 20
	w := benchWorld(b, "198.18.0.1:9000")
	block := make([]byte, 1<<20)
	source := w.raw(func(c *net.TCPConn) {
		c.Read(make([]byte, 1))
		for range size / len(block) {
			if _, err := c.Write(block); err != nil {
				return
			}
		}
	}, "good.test:9000")
	web := benchWorld(b, "198.18.0.1:80")
	s := web.web(func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Length", fmt.Sprint(size))
		for range size / len(block) {
			rw.Write(block)
		}
	}, "good.test:80")
	get := "GET / HTTP/1.1\r\nHost: good.test\r\nConnection: close\r\n\r\n"
	for _, v := range []struct{ name, addr, ask string }{
		{"bytes/direct", source, "\x00"},
		{"bytes/proxy", w.addr, "\x00"},
		{"http/direct", s.Listener.Addr().String(), get},
		{"http/proxy", web.addr, get},
	} {
		b.Run(v.name, func(b *testing.B) {
			b.SetBytes(size)
			buf := make([]byte, 1<<20)
			for b.Loop() {
				c, err := net.Dial("tcp", v.addr)
				if err != nil {
					b.Fatal(err)
				}
				io.WriteString(c, v.ask)
				n, err := io.CopyBuffer(io.Discard, struct{ io.Reader }{c}, buf)
				if n < size || err != nil {
					b.Fatal(n, err)
				}
				c.Close()
			}
		})
	}
}
