package fakedns

import (
	"strconv"

	"golang.org/x/net/dns/dnsmessage"

	"sallyport/internal/egress"
)

// ttl is how long a program may keep an answer, in seconds. The addresses hold
// for the run; short enough that a name granted or revoked meanwhile is noticed.
const ttl = 30

// answer gives the reply to one message, nil if there is none to give. It is a
// function of the message, the table and the rules; nothing else happens.
func (s *Server) answer(msg []byte) []byte {
	var p dnsmessage.Parser
	head, err := p.Start(msg)
	if err != nil || head.Response {
		// Replying to a reply could bounce for ever.
		return nil
	}
	reply := dnsmessage.Header{
		ID: head.ID, Response: true, OpCode: head.OpCode, RecursionDesired: head.RecursionDesired, RecursionAvailable: true,
	}
	if head.OpCode != 0 {
		reply.RCode = dnsmessage.RCodeNotImplemented
		return pack(reply, nil, nil)
	}
	q, err := p.Question()
	if err != nil {
		reply.RCode = dnsmessage.RCodeFormatError
		return pack(reply, nil, nil)
	}
	if _, err := p.Question(); err != dnsmessage.ErrSectionDone { //nolint:errorlint // returned as is
		reply.RCode = dnsmessage.RCodeFormatError
		return pack(reply, nil, nil)
	}
	code, body := s.decide(q)
	reply.RCode = code
	return pack(reply, &q, body)
}

// decide answers one question: a code, and the record if there is one.
func (s *Server) decide(q dnsmessage.Question) (dnsmessage.RCode, dnsmessage.ResourceBody) {
	if q.Class != dnsmessage.ClassINET {
		return dnsmessage.RCodeRefused, nil
	}
	asked := q.Name.String()
	name, valid := egress.CanonicalHost(asked)
	if !valid { // addresses too: with the final dot they are no names
		s.denied(printable(asked))
		return dnsmessage.RCodeNameError, nil
	}
	if !s.opts.Allowed(name) {
		s.denied(name)
		return dnsmessage.RCodeNameError, nil
	}
	if q.Type != dnsmessage.TypeA && (q.Type != dnsmessage.TypeAAAA || s.opts.NoIPv6) {
		return dnsmessage.RCodeSuccess, nil // the name exists, such data of it does not
	}
	n, ok := s.table.number(name)
	if !ok {
		return dnsmessage.RCodeServerFailure, nil
	}
	if q.Type == dnsmessage.TypeA {
		return dnsmessage.RCodeSuccess, &dnsmessage.AResource{A: address4(n)}
	}
	return dnsmessage.RCodeSuccess, &dnsmessage.AAAAResource{AAAA: address6(n)}
}

// printable makes what is no name safe for a log.
func printable(s string) string {
	q := strconv.QuoteToASCII(s)
	return q[1 : len(q)-1]
}

func pack(head dnsmessage.Header, q *dnsmessage.Question, body dnsmessage.ResourceBody) []byte {
	m := dnsmessage.Message{Header: head}
	if q != nil {
		m.Questions = []dnsmessage.Question{*q}
	}
	if body != nil {
		m.Answers = []dnsmessage.Resource{{
			Header: dnsmessage.ResourceHeader{Name: q.Name, Class: dnsmessage.ClassINET, TTL: ttl},
			Body:   body,
		}}
	}
	out, err := m.Pack()
	if err != nil {
		return nil // a question that can be read and not written: no reply
	}
	return out
}
