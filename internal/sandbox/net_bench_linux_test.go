package sandbox

import (
	"fmt"
	"io"
	"net"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"
)

// The client of these benchmarks is the same program inside and outside; it
// prints how long its work took, so that starting it does not count.

// setups makes connections one after the other, each read to its end.
func setups(arg string) error {
	addr, n, _ := strings.Cut(arg, ",")
	began := time.Now()
	for range num(n) {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			return err
		}
		if _, err := io.Copy(io.Discard, c); err != nil {
			return err
		}
		c.Close()
	}
	fmt.Println("took", time.Since(began).Nanoseconds())
	return nil
}

// download reads whole connections of a server that sends much.
func download(arg string) error {
	addr, n, _ := strings.Cut(arg, ",")
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer c.Close()
	began := time.Now()
	buf := make([]byte, 256<<10)
	for left := num(n) * benchBlock; left > 0; {
		got, err := c.Read(buf)
		if err != nil {
			return err
		}
		left -= got
	}
	fmt.Println("took", time.Since(began).Nanoseconds())
	return nil
}

const benchBlock = 1 << 20

// serveBench answers as the benchmark needs it.
func serveBench(l net.Listener, much bool) {
	block := make([]byte, benchBlock)
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			if !much {
				_, _ = c.Write([]byte("ok\n"))
				return
			}
			for err == nil {
				_, err = c.Write(block)
			}
		}()
	}
}

func took(b *testing.B, out []byte) {
	b.Helper()
	_, rest, ok := strings.Cut(string(out), "took ")
	line, _, _ := strings.Cut(rest, "\n")
	ns, err := strconv.ParseInt(line, 10, 64)
	if !ok || err != nil {
		b.Fatalf("%s", out)
	}
	b.ReportMetric(float64(ns)/float64(b.N)/1000, "µs/op")
	b.ReportMetric(0, "ns/op") // would count the start of the client
}

func benchHandoff(b *testing.B, what string, much bool) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	go serveBench(l, much)
	b.Run("direct", func(b *testing.B) {
		out, err := exec.Command("/proc/self/exe", "attack", what, fmt.Sprintf("%s,%d", l.Addr(), b.N)).Output()
		if err != nil {
			b.Fatal(err)
		}
		took(b, out)
	})
	for _, mode := range []struct {
		name, addr string
		change     []func(*stageConfig)
	}{
		{"own loopback", "127.0.0.1:17080", nil},
		{"diverted", "93.184.216.34:80", nil},
		{"diverted IPv6", "[2606:2800::1]:80", nil},
		{"fixed port", "93.184.216.34:80", []func(*stageConfig){undiverted}},
	} {
		b.Run(mode.name, func(b *testing.B) {
			x := newTarget(b)
			spec := x.spec(ViewWorkspace)
			spec.Network = NetworkHandoff
			spec, err := spec.normalise()
			if err != nil {
				b.Fatal(err)
			}
			sb, err := startTier(b.Context(), spec, TierFull, mode.change...)
			if err != nil {
				b.Fatal(err)
			}
			defer sb.Close()
			for _, l := range sb.Handoff().TCP {
				go serveBench(l, much)
			}
			sh, err := sb.Shell(b.Context(), ShellOptions{})
			if err != nil {
				b.Fatal(err)
			}
			r, err := sh.Run(b.Context(), fmt.Sprintf("%s/attacker attack %s %s,%d", x.work, what, mode.addr, b.N), 10*time.Minute)
			if err != nil {
				b.Fatal(err)
			}
			took(b, r.Head)
		})
	}
}

// BenchmarkConnection makes one connection and reads three bytes.
func BenchmarkConnection(b *testing.B) { benchHandoff(b, "setups", false) }

// BenchmarkDownload reads one MiB per operation.
func BenchmarkDownload(b *testing.B) { benchHandoff(b, "download", true) }

// BenchmarkProgram finds the program behind one connection among idle processes.
func BenchmarkProgram(b *testing.B) {
	for _, n := range []int{1, 50} {
		b.Run(fmt.Sprintf("%d processes", n), func(b *testing.B) {
			x := newTarget(b)
			spec := x.spec(ViewWorkspace)
			spec.Network = NetworkHandoff
			sb, err := Start(b.Context(), spec)
			if err != nil {
				b.Fatal(err)
			}
			defer sb.Close()
			sh, err := sb.Shell(b.Context(), ShellOptions{})
			if err != nil {
				b.Fatal(err)
			}
			script := fmt.Sprintf("for i in $(seq %d); do sleep 1000 & done; (exec 3<>/dev/tcp/93.184.216.34/80; read -r x <&3) &", n-1)
			if _, err := sh.Run(b.Context(), script, time.Minute); err != nil {
				b.Fatal(err)
			}
			c, err := sb.Handoff().TCP[0].Accept()
			if err != nil {
				b.Fatal(err)
			}
			defer c.Close()
			for b.Loop() {
				if p, ok := sb.ProgramOf(c); !ok {
					b.Fatalf("%+v", p)
				}
			}
		})
	}
}

// BenchmarkStartNetwork starts and ends a workspace.
func BenchmarkStartNetwork(b *testing.B) {
	for _, mode := range []struct {
		name    string
		network Network
		change  []func(*stageConfig)
	}{
		{"none", NetworkNone, nil},
		{"diverted", NetworkHandoff, nil},
		{"fixed ports", NetworkHandoff, []func(*stageConfig){undiverted}},
	} {
		b.Run(mode.name, func(b *testing.B) {
			x := newTarget(b)
			spec := x.spec(ViewWorkspace)
			spec.Network = mode.network
			spec, err := spec.normalise()
			if err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				sb, err := startTier(b.Context(), spec, TierFull, mode.change...)
				if err != nil {
					b.Fatal(err)
				}
				b.StopTimer()
				sb.Close()
				b.StartTimer()
			}
		})
	}
}
