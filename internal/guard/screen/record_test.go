package screen

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/creack/pty"
	"github.com/google/go-cmp/cmp"

	"sallyport/internal/fault"
)

func TestRecorder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b bytes.Buffer
		r := NewRecorder(&b, RecorderOptions{Title: "ls\x1b", Scrub: func(b []byte) []byte { return bytes.ReplaceAll(b, []byte("s3cret"), []byte("[secret]")) }})
		r.Resize(23, 80)
		r.Output([]byte("key s3c"))
		r.Output([]byte("ret\r\n<next>"))
		time.Sleep(time.Second)
		r.Resize(10, 40)
		r.Output([]byte("\x1b[31mé"))
		if err := r.Close(); err != nil {
			t.Error(err)
		}
		r.Output([]byte("after the end"))
		want := `{"version":2,"width":80,"height":23,"timestamp":946684800,"title":"ls\\x1b"}
[0.000000, "o", "key [secret]\r\n"]
[0.000000, "o", "\u003cnext\u003e"]
[1.000000, "r", "40x10"]
[1.000000, "o", "\u001b[31mé"]
`
		if diff := cmp.Diff(want, b.String()); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

// TestRecorderBounds: a recording stays below its size, ends with a notice, is
// made of lines that are whole at every moment, and can be read.
func TestRecorderBounds(t *testing.T) {
	var b bytes.Buffer
	lines := writerFunc(func(p []byte) (int, error) {
		if p[len(p)-1] != '\n' || !json.Valid(p) || len(p) > maxLine {
			t.Fatalf("a write of %d bytes is no line", len(p))
		}
		return b.Write(p)
	})
	r := NewRecorder(lines, RecorderOptions{MaxBytes: 100_000})
	for range 100 {
		r.Output([]byte(strings.Repeat("\x1b[1mé", 10_000)))
		r.Output([]byte("secret without end "))
	}
	r.Close()
	if b.Len() > 100_000 || !strings.Contains(b.String(), "the recording ends here") || strings.Count(b.String(), "ends here") != 1 {
		t.Errorf("%d bytes", b.Len())
	}
	if err := Text(&b, io.Discard); err != nil {
		t.Error(err)
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

func TestRecorderFails(t *testing.T) {
	r := NewRecorder(writerFunc(func([]byte) (int, error) { return 0, errors.New("full") }), RecorderOptions{})
	r.Output([]byte("x\n"))
	if err := r.Close(); !fault.Is(err, fault.Unavailable) {
		t.Errorf("%v", err)
	}
}

const head = `{"version": 2, "width": 80, "height": 24}` + "\n"

// TestPlay: the file is not trusted, time is kept, the terminal is restored.
func TestPlay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in := head + `[0.5, "o", "\u001b[?1000h\u001b]52;c;?\u0007one"]` + "\n" + `[1.0, "i", "password"]` + "\n\n" + `[60.5, "o", "two\u009b21t"]` + "\n" + `[61, "o", "torn`
		var b bytes.Buffer
		began := time.Now()
		if err := Play(t.Context(), strings.NewReader(in), &b, PlayOptions{Speed: 2, IdleLimit: 10 * time.Second}); err != nil {
			t.Fatal(err)
		}
		want := "\x1b[?1000honetwo\ufffd21t\x1b[?1000l\x1b(B\x1b)B\x0f\x1b[m\x1b]8;;\x1b\\"
		if diff := cmp.Diff(want, b.String()); diff != "" || time.Since(began) != 5250*time.Millisecond {
			t.Errorf("after %v (-want +got):\n%s", time.Since(began), diff)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		b.Reset()
		if err := Play(ctx, strings.NewReader(in), &b, PlayOptions{}); err != nil || !strings.HasSuffix(b.String(), "\x1b[?1000l\x1b(B\x1b)B\x0f\x1b[m\x1b]8;;\x1b\\") {
			t.Errorf("%q, %v", b.String(), err)
		}
	})
}

func TestPlayRefuses(t *testing.T) {
	for name, in := range map[string]string{
		"empty": "", "no header": "[1]\n", "version": `{"version":3,"width":1,"height":1}` + "\n", "size": `{"version":2,"width":0,"height":1}` + "\n",
		"no event": head + "{}\n", "short event": head + "[1]\n", "no time": head + `["1","o","x"]` + "\n", "time": head + `[-1,"o","x"]` + "\n",
		"no text": head + `[1,"o",2]` + "\n", "huge line": head + `[1,"o","` + strings.Repeat("x", maxLine) + "\"]\n",
	} {
		if err := Play(t.Context(), strings.NewReader(in), io.Discard, PlayOptions{}); !fault.Is(err, fault.Corrupt) {
			t.Errorf("%s: %v", name, err)
		}
		if err := Text(strings.NewReader(in), io.Discard); !fault.Is(err, fault.Corrupt) {
			t.Errorf("text of %s: %v", name, err)
		}
	}
}

func TestText(t *testing.T) {
	var out bytes.Buffer
	event := func(text string) string {
		line, err := eventLine(0, "o", text)
		if err != nil {
			t.Fatal(err)
		}
		return string(line) + "\n"
	}
	in := head + event("\x1b[1mbold\x1b[m \x1b]0;title\aé\r\n 10%\r 50%\r100%\r\n") + event("a\x1b[") + event("5;5Hb\x1b[Kc\x1b(0q\x1b(B\b\bx\r\n") + event("\x1b[2J\x1b]8;;http://a.b\aend")
	if err := Text(strings.NewReader(in), &out); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff("bold é\n100%\na\nbx\nend\n", out.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func FuzzCast(f *testing.F) {
	f.Add([]byte(head + `[0.5, "o", "\u001b[31mx\r\n"]` + "\n"))
	f.Add([]byte(head + `[1e300, "o", "x"]` + "\n[,]\n"))
	f.Add([]byte(head + `[0, "o", "\u001b]8;;http://a.b\u0007\u001b(0"]` + "\n"))
	f.Fuzz(func(t *testing.T, in []byte) {
		var shown, text bytes.Buffer
		c, err := openCast(bytes.NewReader(in))
		if err != nil {
			return
		}
		for {
			e, err := c.next()
			if err != nil {
				break
			}
			if e.at < 0 {
				t.Fatalf("time %v", e.at)
			}
			shown.WriteString(e.text)
		}
		_ = Text(bytes.NewReader(in), &text)
		if i := bytes.IndexFunc(text.Bytes(), func(r rune) bool { return r < ' ' && r != '\n' && r != '\t' || r == 0x7f || r >= 0x80 && r <= 0x9f }); i >= 0 {
			t.Fatalf("%q in the text", text.Bytes()[i:])
		}
		if text.Len() > 4*shown.Len()+1 {
			t.Fatalf("%d bytes became %d", shown.Len(), text.Len())
		}
	})
}

// TestRelay: pipes pass as they are, a terminal gets what is filtered.
func TestRelay(t *testing.T) {
	const hostile = "\x1b]52;c;?\a\x1b[31mred\xff"
	var out, errs bytes.Buffer
	in := &closer{}
	err := Relay(t.Context(), strings.NewReader("typed"), &out, &errs, Pipes{In: in, Out: strings.NewReader(hostile), Err: strings.NewReader("oops")})
	if err != nil || out.String() != hostile || errs.String() != "oops" {
		t.Errorf("%q, %q, %v", out.String(), errs.String(), err)
	}
	master, tty, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer master.Close()
	if err := Relay(t.Context(), nil, tty, io.Discard, Pipes{Out: strings.NewReader(hostile)}); err != nil {
		t.Error(err)
	}
	tty.Close()
	got, _ := io.ReadAll(master)
	if diff := cmp.Diff("\x1b[31mred\ufffd\x1b(B\x1b)B\x0f\x1b[m\x1b]8;;\x1b\\", string(got)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

type closer struct{ bytes.Buffer }

func (*closer) Close() error { return nil }

// TestRelayUnread: when nobody reads us any more, nobody reads the program.
func TestRelayUnread(t *testing.T) {
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	defer signal.Reset(syscall.SIGPIPE)
	gone, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	gone.Close()
	r, program, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer program.Close()
	over := make(chan error, 1)
	go func() { over <- Relay(t.Context(), nil, out, nil, Pipes{Out: r}) }()
	for err == nil {
		_, err = program.WriteString("y\n")
	}
	if !errors.Is(err, syscall.EPIPE) {
		t.Error(err)
	}
	if err := <-over; err != nil {
		t.Error(err)
	}
}

// TestRelayInput: the program's input ends with ours.
func TestRelayInput(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := Relay(t.Context(), strings.NewReader("typed"), &out, nil, Pipes{In: w, Out: r}); err != nil || out.String() != "typed" {
		t.Errorf("%q, %v", out.String(), err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	never, _ := io.Pipe()
	if err := Relay(ctx, nil, &out, nil, Pipes{Out: never}); !fault.Is(err, fault.Canceled) {
		t.Errorf("%v", err)
	}
}
