package sandbox

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
)

// Handoff is what the supervisor has to serve for the payload's connections to
// succeed; nil without NetworkHandoff.
func (sb *Sandbox) Handoff() *Handoff {
	sb.mu.Lock()
	defer sb.mu.Unlock()
	return sb.handoff
}

// takeHandoff makes listeners of the descriptors that the stage gave away.
func (sb *Sandbox) takeHandoff(w *handoffWire, fds []int) error {
	files := make([]*os.File, len(fds))
	for i, fd := range fds {
		files[i] = os.NewFile(uintptr(fd), "handed over")
	}
	defer func() {
		for _, f := range files {
			f.Close() // the listeners have their own; closing nil does nothing
		}
	}()
	if w == nil || w.TCP < 0 || w.DNS < 0 || w.DNSTCP < 0 || len(fds) != w.TCP+w.DNS+w.DNSTCP+number(w.Proc)+number(w.Diag) {
		return fmt.Errorf("hand-over of %d descriptors", len(fds))
	}
	h := &Handoff{
		Transparent: w.Transparent, Ports: w.Ports, Resolver: resolverAddr,
		Proxy: netip.AddrPortFrom(resolverAddr, ProxyPort),
	}
	var errs error
	for i, f := range files[:w.TCP+w.DNS+w.DNSTCP] {
		var err error
		switch {
		case i < w.TCP:
			err = appendListener(&h.TCP, net.FileListener, f)
		case i < w.TCP+w.DNS:
			err = appendListener(&h.DNS, net.FilePacketConn, f)
		default:
			err = appendListener(&h.DNSTCP, net.FileListener, f)
		}
		errs = errors.Join(errs, err)
	}
	var o *owners
	if rest := files[w.TCP+w.DNS+w.DNSTCP:]; errs == nil && w.Proc && w.Diag {
		o = &owners{proc: rest[0], diag: rest[1]}
		rest[0], rest[1] = nil, nil
	}
	sb.mu.Lock()
	sb.handoff, sb.owners = h, o
	ended := sb.networkClosed
	sb.mu.Unlock()
	if errs != nil || ended {
		sb.closeNetwork()
	}
	return errs
}

func number(b bool) int {
	if b {
		return 1
	}
	return 0
}

func appendListener[L any](to *[]L, from func(*os.File) (L, error), f *os.File) error {
	l, err := from(f)
	if err == nil {
		*to = append(*to, l)
	}
	return err
}

// closeNetwork closes everything handed over, and whatever still will be.
func (sb *Sandbox) closeNetwork() {
	sb.mu.Lock()
	h, o := sb.handoff, sb.owners
	sb.networkClosed, sb.owners = true, nil
	sb.mu.Unlock()
	o.close()
	if h == nil {
		return
	}
	for _, l := range append(append([]net.Listener(nil), h.TCP...), h.DNSTCP...) {
		l.Close()
	}
	for _, c := range h.DNS {
		c.Close()
	}
}
