package bench

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"sallyport/internal/sandbox"
)

// The payload of the benchmarks is this program, the same inside a sandbox and
// outside. It is asked on its standard input, one line each, and answers with
// the durations of what it did, measured by itself: neither its start nor the
// way of the question counts.

// payload serves questions until there are no more.
func payload(in io.Reader, out io.Writer) error {
	work := map[string]func(args []string) (samples, error){"get": get, "pull": pull, "create": create}
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		verb, rest, _ := strings.Cut(lines.Text(), " ")
		f, ok := work[verb]
		if !ok {
			return fmt.Errorf("bench: no work %q", verb)
		}
		took, err := f(strings.Fields(rest))
		if err != nil {
			return err
		}
		for i, d := range took {
			if i > 0 {
				fmt.Fprint(out, " ")
			}
			fmt.Fprint(out, d.Nanoseconds())
		}
		fmt.Fprintln(out)
	}
	return lines.Err()
}

// page is the body of a small answer; with it the answer is complete.
const page = "hello\n"

// get makes n connections with one small request each, until the answer is
// there: to an address, or to a name that is looked up for each.
func get(args []string) (samples, error) {
	n, err := strconv.Atoi(args[1])
	if err != nil {
		return nil, err
	}
	host, _, err := net.SplitHostPort(args[0])
	if err != nil {
		return nil, err
	}
	dialer := net.Dialer{Resolver: &net.Resolver{PreferGo: true}}
	buf := make([]byte, 4096)
	var took samples
	for range n {
		start := time.Now()
		c, err := dialer.Dial("tcp4", args[0])
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(c, "GET / HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", hostOf(args, host))
		got := 0
		for err == nil && !bytes.HasSuffix(buf[:got], []byte(page)) {
			var k int
			k, err = c.Read(buf[got:])
			got += k
		}
		took.since(start)
		c.Close()
		if err != nil || !bytes.HasPrefix(buf, []byte("HTTP/1.1 200")) {
			return nil, fmt.Errorf("bench: %q: %w", buf[:got], err)
		}
	}
	return took, nil
}

// hostOf is what a request names: the third word of the question, if there is one.
func hostOf(args []string, host string) string {
	if len(args) > 2 {
		return args[2]
	}
	return host
}

// pull sends one byte and reads what comes back to its end: size bytes.
func pull(args []string) (samples, error) {
	size, err := strconv.Atoi(args[1])
	if err != nil {
		return nil, err
	}
	buf := make([]byte, 256<<10)
	start := time.Now()
	c, err := (&net.Dialer{Resolver: &net.Resolver{PreferGo: true}}).Dial("tcp4", args[0])
	if err != nil {
		return nil, err
	}
	defer c.Close()
	if _, err := c.Write([]byte{0}); err != nil {
		return nil, err
	}
	got := 0
	for err == nil {
		var n int
		n, err = c.Read(buf)
		got += n
	}
	if !errors.Is(err, io.EOF) || got != size {
		return nil, fmt.Errorf("bench: %d of %d bytes: %w", got, size, err)
	}
	return samples{time.Since(start)}, nil
}

// create makes a directory with 5,000 small files, a hundred in each directory.
func create(args []string) (samples, error) {
	start := time.Now()
	for i := range created / 100 {
		dir := filepath.Join(args[0], strconv.Itoa(i))
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, err
		}
		for j := range 100 {
			if err := os.WriteFile(filepath.Join(dir, strconv.Itoa(j)), []byte("some words\n"), 0o644); err != nil {
				return nil, err
			}
		}
	}
	return samples{time.Since(start)}, nil
}

// client is a running payload.
type client struct {
	b    *testing.B
	in   io.WriteCloser
	out  *bufio.Reader
	says func() string // its errors, once it has ended
	end  func()
}

// ask gives a question and waits for the answer.
func (w *client) ask(words ...string) samples {
	w.b.Helper()
	fmt.Fprintln(w.in, strings.Join(words, " "))
	line, err := w.out.ReadString('\n')
	if err != nil {
		w.b.Fatalf("the payload gave no answer to %q: %s", words, w.says())
	}
	var took samples
	for f := range strings.FieldsSeq(line) {
		ns, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			w.b.Fatal(err)
		}
		took = append(took, time.Duration(ns))
	}
	return took
}

func (w *client) close() {
	w.in.Close()
	w.end()
}

// outsider runs the payload without any sandbox.
func outsider(b *testing.B) *client {
	b.Helper()
	c := exec.Command("/proc/self/exe")
	c.Env = []string{roleEnv + "=payload"}
	var said strings.Builder
	c.Stderr = &said
	in, err := c.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := c.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := c.Start(); err != nil {
		b.Fatal(err)
	}
	end := func() { _ = c.Wait() }
	return &client{b: b, in: in, out: bufio.NewReader(out), says: func() string { end(); return said.String() }, end: end}
}

// program is where the payload is shown in a sandbox.
const program = "/run/sallyport-bench"

// inside starts a sandbox and runs the payload in it.
func inside(b *testing.B, spec sandbox.Spec) (*sandbox.Sandbox, *client) {
	b.Helper()
	exe, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	spec.Mounts = append(spec.Mounts, sandbox.Mount{Host: exe, View: program})
	box, err := sandbox.Start(context.Background(), spec)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = box.Close() })
	p, err := box.Exec(context.Background(), sandbox.Command{Argv: []string{program}, Env: append(spec.Env, roleEnv+"=payload")})
	if err != nil {
		b.Fatal(err)
	}
	end := func() {
		_, _ = p.Wait(context.Background())
		p.Stdout.Close()
		p.Stderr.Close()
	}
	return box, &client{b: b, in: p.Stdin, out: bufio.NewReader(p.Stdout), end: end, says: func() string {
		text, _ := io.ReadAll(p.Stderr)
		return string(text)
	}}
}
