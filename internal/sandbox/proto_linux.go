package sandbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Supervisor and stage speak JSON packets over an unnamed SOCK_SEQPACKET pair;
// the payload never has either end. File descriptors travel with SpawnRequest.
const (
	opSpawn  = "spawn"
	opSignal = "signal"

	evHandoff = "handoff" // before evReady: the network's listeners, with their descriptors
	evReady   = "ready"
	evFailed  = "failed"
	evSpawned = "spawned"
	evExit    = "exit"
	evSent    = "sent"    // answers a signal request
	evFolders = "folders" // before evReady: what the supervisor opens folders with, with its descriptors
)

// Whom a signal is for.
const (
	scopeGroup = "group" // the shell's process group, the shell included
	scopeBelow = "below" // everything the shell started; the shell itself goes on
	scopeHold  = "hold"  // the same, the shell being stopped first and left so
	scopeShell = "shell" // the shell and everything it started
	scopeFront = "front" // the foreground group of the terminal that comes with the request
)

type request struct {
	Op    string `json:"op"`
	ID    int    `json:"id"`
	Argv  words  `json:"argv,omitempty"`
	Env   words  `json:"env"` // null: the Spec's
	Dir   words  `json:"dir,omitempty"`
	Sig   int    `json:"sig,omitempty"`
	Scope string `json:"scope,omitempty"`
	Seq   int    `json:"seq,omitempty"` // of a signal, repeated in its answer

	Terminal bool     `json:"terminal,omitempty"` // descriptor 0 becomes the controlling terminal
	Size     *WinSize `json:"size,omitempty"`     // make a terminal of this size and send its master back
}

// words are strings of any bytes but NUL, as the kernel knows arguments, names
// and environments; JSON's own strings would change what is not UTF-8.
type words []string

// MarshalJSON writes every word with a NUL after it; no list at all is null.
func (w words) MarshalJSON() ([]byte, error) {
	if w == nil {
		return []byte("null"), nil
	}
	var b []byte
	for _, s := range w {
		b = append(append(b, s...), 0)
	}
	return json.Marshal(append([]byte{}, b...))
}

// UnmarshalJSON is the reverse.
func (w *words) UnmarshalJSON(data []byte) error {
	var b []byte
	if err := json.Unmarshal(data, &b); err != nil {
		return err
	}
	*w = nil
	if b != nil {
		*w = words{}
	}
	for s := range strings.SplitAfterSeq(string(b), "\x00") {
		if s != "" {
			*w = append(*w, strings.TrimSuffix(s, "\x00"))
		}
	}
	return nil
}

type event struct {
	Ev         string      `json:"ev"`
	ID         int         `json:"id,omitempty"`
	Status     int         `json:"status,omitempty"` // raw wait status
	Seq        int         `json:"seq,omitempty"`
	Kind       uint8       `json:"kind,omitempty"` // fault.Kind of Error
	Error      string      `json:"error,omitempty"`
	Step       *stepError  `json:"step,omitempty"`
	Primitives []Primitive `json:"primitives,omitempty"`
	Notes      []string    `json:"notes,omitempty"`
	Pid        int         `json:"pid,omitempty"` // of the stage, as the host sees it in /proc

	fds     []int        // descriptors that came with it
	Handoff *handoffWire `json:"handoff,omitempty"`
	Folders *foldersWire `json:"folders,omitempty"`
}

// stepError is one failed primitive, in a form that crosses the socket.
type stepError struct {
	Primitive string `json:"primitive"`
	Detail    string `json:"detail"`
	Errno     string `json:"errno,omitempty"`
	Remedy    string `json:"remedy,omitempty"`
	Fallback  bool   `json:"fallback"`          // a weaker tier may still work
	Usage     string `json:"usage,omitempty"`   // the public sentence if the Spec asks for what cannot be
	Overlay   int    `json:"overlay,omitempty"` // of the primitive "overlay": which one was refused
}

func (e *stepError) Error() string { return e.Primitive + ": " + e.Detail }

// step wraps err as the failure of a primitive that a weaker tier does without.
func step(primitive string, err error) error {
	var se *stepError
	if err == nil || errors.As(err, &se) {
		return err
	}
	s := &stepError{Primitive: primitive, Detail: err.Error(), Fallback: true, Remedy: remedyFor(primitive)}
	if no, ok := errors.AsType[syscall.Errno](err); ok {
		s.Errno = unix.ErrnoName(no)
	}
	return s
}

// maxPacket bounds one control packet: larger than any environment or list of
// masks a packet carries, smaller than a socket buffer.
const maxPacket = 128 << 10

var errTooLong = errors.New("control packet too long")

func sendPacket(c *net.UnixConn, v any, fds ...int) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if len(b) > maxPacket {
		return fmt.Errorf("%w: %d bytes", errTooLong, len(b))
	}
	var oob []byte
	if len(fds) > 0 {
		oob = unix.UnixRights(fds...)
	}
	_, _, err = c.WriteMsgUnix(b, oob, nil)
	return err
}

func recvPacket(c *net.UnixConn, v any) ([]int, error) {
	buf := make([]byte, maxPacket)
	oob := make([]byte, 256)
	n, oobn, _, _, err := c.ReadMsgUnix(buf, oob)
	if err != nil {
		return nil, err
	}
	if n == 0 {
		return nil, io.EOF
	}
	var fds []int
	if oobn > 0 {
		msgs, err := unix.ParseSocketControlMessage(oob[:oobn])
		if err != nil {
			return nil, err
		}
		for _, m := range msgs {
			got, err := unix.ParseUnixRights(&m)
			if err != nil {
				return nil, err
			}
			fds = append(fds, got...)
		}
	}
	return fds, json.Unmarshal(buf[:n], v)
}

func connFromFD(fd int, name string) (*net.UnixConn, error) {
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	c, err := net.FileConn(f)
	if err != nil {
		return nil, err
	}
	uc, ok := c.(*net.UnixConn)
	if !ok {
		c.Close()
		return nil, errors.New("control descriptor is not a unix socket")
	}
	return uc, nil
}

// stageConfig is everything the stage needs; it is handed over in a memory file.
type stageConfig struct {
	Spec        Spec
	Tier        Tier
	UID, GID    int            // of the payload
	Root        bool           // the supervisor is uid 0 with an identity map
	Mounts      map[string]int // path -> number of an already idmapped mount's descriptor
	Modes       []string       // of Spec.Overlays: modeOverlay or modeCopy
	Second      bool           // the mounts are made; this is the image without capabilities
	Done        []Primitive    // what the first image achieved
	Notes       []string
	NProc       int           // RLIMIT_NPROC for the payload
	Sockets     []socketMount // of Spec.Sockets, resolved
	HostSockets []string      // what host programs listen at, as paths in the view

	NoDivert bool // do without nftables, as where the kernel refuses them
	HostPID  bool // no PID namespace: ps must work, and Landlock scopes signals

	MountDirs []bool `json:"-"` // of Spec.Mounts: is it a directory; found by the stage
}

// memFile puts v as JSON into an anonymous file.
func memFile(v any) (*os.File, error) {
	fd, err := unix.MemfdCreate("sallyport-stage", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("memfd_create: %w", err)
	}
	f := os.NewFile(uintptr(fd), "stage config")
	if err := writeConfig(f, v); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func writeConfig(f *os.File, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if err := f.Truncate(0); err != nil {
		return err
	}
	if _, err := f.WriteAt(b, 0); err != nil {
		return err
	}
	_, err = f.Seek(0, io.SeekStart)
	return err
}
