package alert

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestRsyslog: a real receiver reads our messages, over every transport it has
// without a certificate, into the fields we meant.
func TestRsyslog(t *testing.T) {
	daemon, err := exec.LookPath("rsyslogd")
	if err != nil {
		t.Skip("SKIPPED: rsyslogd is not installed (Debian: apt-get install rsyslog)")
	}
	dir, err := os.MkdirTemp("/var/tmp", "alert-rsyslog-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	tcp, udp, sock, pipe := freePort(t, "tcp"), freePort(t, "udp"), filepath.Join(dir, "log"), filepath.Join(dir, "out")
	if out, err := exec.CommandContext(t.Context(), "mkfifo", pipe).CombinedOutput(); err != nil {
		t.Skipf("SKIPPED: mkfifo: %s", out)
	}
	conf := fmt.Sprintf(`global(workDirectory="%[1]s")
module(load="imtcp") module(load="imudp") module(load="imuxsock" SysSock.Use="off")
input(type="imtcp" address="127.0.0.1" port="%[2]s")
input(type="imudp" address="127.0.0.1" port="%[3]s")
input(type="imuxsock" Socket="%[4]s" UseSpecialParser="off" ParseHostname="on")
template(name="t" type="string" string="%%syslogfacility-text%%|%%syslogseverity-text%%|%%timereported:::date-rfc3339%%|%%app-name%%|%%msgid%%|%%structured-data%%|%%msg%%\n")
action(type="ompipe" pipe="%[5]s" template="t")
`, dir, tcp, udp, sock, pipe)
	file := filepath.Join(dir, "conf")
	if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	// Opened for both, so that neither side waits for the other.
	lines, err := os.OpenFile(pipe, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer lines.Close()
	cmd := exec.CommandContext(t.Context(), daemon, "-n", "-f", file, "-i", filepath.Join(dir, "pid"))
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	for end := time.Now().Add(20 * time.Second); ; {
		conn, err := dialer(t.Context(), "tcp", "127.0.0.1:"+tcp)
		_, serr := os.Stat(sock)
		if err == nil && serr == nil {
			conn.Close()
			break
		}
		if time.Now().After(end) {
			t.Fatalf("rsyslogd does not listen: %v %v", err, serr)
		}
	}
	r := bufio.NewReader(lines)
	for _, o := range []SyslogOptions{{Network: "tcp", Address: "127.0.0.1:" + tcp}, {Network: "udp", Address: "127.0.0.1:" + udp}, {Network: "unix", Address: sock}} {
		o.Dial, o.Facility = dialer, "auth"
		s, err := NewSyslog("log", o)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Send(t.Context(), awkward(), detail); err != nil {
			t.Fatal(err)
		}
		if err := lines.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
			t.Fatal(err)
		}
		line, err := r.ReadString('\n')
		if err != nil {
			t.Fatalf("%s: %v", o.Network, err)
		}
		f := strings.SplitN(strings.TrimSpace(line), "|", 7)
		if len(f) != 7 {
			t.Fatalf("%s: %q", o.Network, line)
		}
		want := []string{"auth", "err", "2026-11-21T12:00:00.000000+00:00", "sallyport", "denials", `[sallyport@32473 id="k3x9" message="msg_1" severity="high" subject="a\"b\\c\]d" agent="sarah" session="s1" count="5" instance="host-1"]`}
		if o.Network == "unix" {
			f[2] = want[2] // it believes its own clock there
		}
		for i, w := range want {
			if f[i] != w && strings.Replace(f[i], "Z", "+00:00", 1) != w {
				t.Errorf("%s: field %d of %q, want %q", o.Network, i, f, w)
			}
		}
		if !strings.Contains(f[6], "was denied 5 times (5 events)") {
			t.Errorf("%s: message %q", o.Network, f[6])
		}
	}
}

func freePort(t *testing.T, network string) string {
	t.Helper()
	var addr net.Addr
	if network == "udp" {
		c, err := (&net.ListenConfig{}).ListenPacket(t.Context(), "udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		addr = c.LocalAddr()
	} else {
		l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		addr = l.Addr()
	}
	_, port, _ := net.SplitHostPort(addr.String())
	return port
}
