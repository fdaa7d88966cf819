package sandbox

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// The table diverts TCP instead of rewriting it: a connection keeps both its
// addresses, so the accepted socket itself says where the payload wanted to go
// and a pair of addresses names exactly one socket of the payload. With address
// translation two connections could share what the supervisor sees, and one
// would be taken for the other. Only questions to other name servers over UDP
// are translated, because their answers have to come from the address asked.

const (
	dnsPort = 53
	// Translated questions arrive at a port of their own, which tells their
	// answers from those that need no translation.
	translatedPort = ProxyPort
)

// divert loads the table into the network namespace of this process.
func divert() error {
	c, err := nftables.New()
	if err != nil {
		return fmt.Errorf("nftables: %w", err)
	}
	t := c.AddTable(&nftables.Table{Family: nftables.TableFamilyINet, Name: "sallyport"})
	chain := func(name string, kind nftables.ChainType, hook *nftables.ChainHook, prio *nftables.ChainPriority) func(...[]expr.Any) {
		ch := c.AddChain(&nftables.Chain{Name: name, Table: t, Type: kind, Hooknum: hook, Priority: prio})
		return func(parts ...[]expr.Any) {
			var all []expr.Any
			for _, p := range parts {
				all = append(all, p...)
			}
			c.AddRule(&nftables.Rule{Table: t, Chain: ch, Exprs: all})
		}
	}

	// What is not translated needs no state, which a payload could fill up.
	raw := chain("untracked", nftables.ChainTypeFilter, nftables.ChainHookOutput, nftables.ChainPriorityRaw)
	// only our own sockets can have these two addresses
	raw(address4(source, 127, 0, 0, 1), protocol(unix.IPPROTO_UDP), port(source, translatedPort), accept)
	raw(loopback6(source), protocol(unix.IPPROTO_UDP), port(source, translatedPort), accept)
	raw(address4(destination, 127), untrack, accept)
	raw(loopback6(destination), untrack, accept)
	raw(protocol(unix.IPPROTO_UDP), port(destination, dnsPort), floodOfQuestions, drop)
	raw(protocol(unix.IPPROTO_UDP), port(destination, dnsPort), accept)
	raw(untrack)

	in := chain("divert", nftables.ChainTypeFilter, nftables.ChainHookPrerouting, nftables.ChainPriorityMangle)
	in(address4(destination, 127), accept)
	in(loopback6(destination), accept)
	for _, f := range []byte{unix.NFPROTO_IPV4, unix.NFPROTO_IPV6} {
		in(family(f), protocol(unix.IPPROTO_TCP), port(destination, dnsPort), toListener(f, dnsPort), accept)
		in(family(f), protocol(unix.IPPROTO_TCP), toListener(f, ProxyPort), accept)
	}

	nat := chain("questions", nftables.ChainTypeNAT, nftables.ChainHookOutput, nftables.ChainPriorityNATDest)
	nat(protocol(unix.IPPROTO_UDP), port(destination, dnsPort), []expr.Any{
		&expr.Immediate{Register: 1, Data: portBytes(translatedPort)},
		&expr.Redir{RegisterProtoMin: 1},
	})
	if err := c.Flush(); err != nil {
		return fmt.Errorf("nftables: %w", err)
	}
	return nil
}

var (
	accept  = []expr.Any{&expr.Verdict{Kind: expr.VerdictAccept}}
	drop    = []expr.Any{&expr.Verdict{Kind: expr.VerdictDrop}}
	untrack = []expr.Any{&expr.Notrack{}}

	// A translated question is remembered for half a minute; this bounds how
	// many are. Questions to the name server of resolv.conf do not count.
	floodOfQuestions = []expr.Any{&expr.Limit{Type: expr.LimitTypePkts, Rate: 500, Burst: 500, Unit: expr.LimitTimeSecond, Over: true}}
)

// end says which address or port of a packet is meant.
type end int

const (
	source end = iota
	destination
)

// address4 matches IPv4 packets whose address at this end begins like this.
func address4(at end, begins ...byte) []expr.Any {
	return append(family(unix.NFPROTO_IPV4),
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: 12 + 4*uint32(at), Len: uint32(len(begins))},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: begins})
}

// loopback6 matches IPv6 packets with the loopback address at this end.

func loopback6(at end) []expr.Any {
	return append(family(unix.NFPROTO_IPV6),
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: 8 + 16*uint32(at), Len: 16},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{15: 1}})
}

func family(f byte) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{f}},
	}
}

func protocol(p byte) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{p}},
	}
}

func port(at end, p uint16) []expr.Any {
	return []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2 * uint32(at), Len: 2},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: portBytes(p)},
	}
}

// toListener gives a packet to the listener at this port of the loopback
// address of its family.
func toListener(f byte, p uint16) []expr.Any {
	addr := netip.IPv6Loopback()
	if f == unix.NFPROTO_IPV4 {
		addr = resolverAddr
	}
	return []expr.Any{
		&expr.Immediate{Register: 1, Data: addr.AsSlice()},
		&expr.Immediate{Register: 2, Data: portBytes(p)},
		&expr.TProxy{Family: f, TableFamily: unix.NFPROTO_INET, RegAddr: 1, RegPort: 2},
	}
}

func portBytes(p uint16) []byte { return binary.BigEndian.AppendUint16(nil, p) }
