//go:build !linux

package sandbox

import (
	"context"
	"io"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"

	"sallyport/internal/fault"
)

const noSandbox = "the sandbox needs Linux namespaces, Landlock and seccomp, which this system does not have; run Sallyport on Linux"

// MaybeInit does nothing where there is no sandbox.
func MaybeInit() {}

// Probe reports that nothing can be confined here.
func Probe(context.Context) Report {
	return Report{Tier: TierNone, NotPromised: []string{noSandbox}}
}

// Sandbox cannot exist on this system.
type Sandbox struct{ done chan struct{} }

// Start refuses.
func Start(context.Context, Spec) (*Sandbox, error) {
	return nil, fault.New("sandbox.start", fault.Unsupported, noSandbox)
}

// StartTier refuses.
func StartTier(context.Context, Spec, Tier) (*Sandbox, error) {
	return nil, fault.New("sandbox.start", fault.Unsupported, noSandbox)
}

// Report is empty.
func (*Sandbox) Report() Report { return Report{} }

// Limits is empty.
func (*Sandbox) Limits() []string { return nil }

// OverlayState says where the changes of one copy-on-write directory go.
type OverlayState struct{ Dir, Store, Mode, Upper string }

// Overlays is empty.
func (*Sandbox) Overlays() []OverlayState { return nil }

// Ended is nil, for nothing was started.
func (*Sandbox) Ended() error { return nil }

// Handoff is nil.
func (*Sandbox) Handoff() *Handoff { return nil }

// Program knows nothing.
func (*Sandbox) Program(netip.AddrPort, netip.AddrPort) (Program, bool) { return Program{}, false }

// ProgramOf knows nothing.
func (*Sandbox) ProgramOf(net.Conn) (Program, bool) { return Program{}, false }

// Done is never reached, for no Sandbox exists.
func (s *Sandbox) Done() <-chan struct{} { return s.done }

// Kill does nothing.
func (*Sandbox) Kill() {}

// Close does nothing.
func (*Sandbox) Close() error { return nil }

// OpenFolder refuses.
func (*Sandbox) OpenFolder(context.Context, string) error {
	return fault.New("sandbox.folder", fault.Unsupported, noSandbox)
}

// FolderOpen is false, for nothing was started.
func (*Sandbox) FolderOpen(string) bool { return false }

// NextFolder refuses.
func (*Sandbox) NextFolder(context.Context) (string, error) {
	return "", fault.New("sandbox.folder", fault.Unsupported, noSandbox)
}

// AnswerFolder refuses.
func (*Sandbox) AnswerFolder(string) error {
	return fault.New("sandbox.folder", fault.Unsupported, noSandbox)
}

// Shell refuses.
func (*Sandbox) Shell(context.Context, ShellOptions) (*Shell, error) {
	return nil, fault.New("sandbox.shell", fault.Unsupported, noSandbox)
}

// Exec refuses.
func (*Sandbox) Exec(context.Context, Command) (*Process, error) {
	return nil, fault.New("sandbox.exec", fault.Unsupported, noSandbox)
}

// Process cannot exist on this system.
type Process struct {
	Terminal       *os.File
	Stdin          io.WriteCloser
	Stdout, Stderr io.ReadCloser
}

// Wait refuses.
func (*Process) Wait(context.Context) (ExitStatus, error) {
	return ExitStatus{Code: -1}, fault.New("sandbox.wait", fault.Unsupported, noSandbox)
}

// Resize refuses.
func (*Process) Resize(WinSize) error {
	return fault.New("sandbox.resize", fault.Unsupported, noSandbox)
}

// Signal refuses.
func (*Process) Signal(syscall.Signal) error {
	return fault.New("sandbox.signal", fault.Unsupported, noSandbox)
}

// Kill does nothing.
func (*Process) Kill() {}

// Shell cannot exist on this system.
type Shell struct{}

// Run refuses.
func (*Shell) Run(context.Context, string, time.Duration) (Result, error) {
	return Result{Exit: -1}, fault.New("sandbox.run", fault.Unsupported, noSandbox)
}

// Interrupt does nothing.
func (*Shell) Interrupt() {}

// Close does nothing.
func (*Shell) Close() error { return nil }
