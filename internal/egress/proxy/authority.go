package proxy

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/netip"
	"sync"
	"time"
)

// How long certificates hold. The authority dies with the process that holds
// its key; its date only keeps a forgotten copy of the certificate from
// mattering for ever.
const (
	authorityLife = 90 * 24 * time.Hour
	leafLife      = 24 * time.Hour
	clockSkew     = 5 * time.Minute
	maxLeaves     = 1024
)

// Authority signs certificates for the hosts whose TLS is opened, during one
// run. Its keys exist in this process's memory only; only the sandbox's
// programs are told to trust it. It is safe for concurrent use.
type Authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	leaf *ecdsa.PrivateKey // of all leaves: they differ in name only
	now  func() time.Time

	mu     sync.Mutex
	leaves map[string]*tls.Certificate
}

// NewAuthority makes an authority with fresh keys that begins to hold at now.
func NewAuthority(now time.Time) (*Authority, error) {
	a := &Authority{now: time.Now, leaves: map[string]*tls.Certificate{}}
	for _, k := range []**ecdsa.PrivateKey{&a.key, &a.leaf} {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return nil, fmt.Errorf("proxy.authority: %w", err)
		}
		*k = key
	}
	t, err := template(now, authorityLife)
	if err != nil {
		return nil, err
	}
	t.Subject.CommonName = "Sallyport run"
	t.IsCA, t.BasicConstraintsValid, t.MaxPathLenZero = true, true, true
	t.KeyUsage = x509.KeyUsageCertSign
	der, err := x509.CreateCertificate(rand.Reader, t, t, a.key.Public(), a.key)
	if err == nil {
		a.cert, err = x509.ParseCertificate(der)
	}
	if err != nil {
		return nil, fmt.Errorf("proxy.authority: %w", err)
	}
	return a, nil
}

func template(now time.Time, life time.Duration) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fmt.Errorf("proxy.authority: %w", err)
	}
	return &x509.Certificate{
		SerialNumber: serial.Add(serial, big.NewInt(1)),
		Subject:      pkix.Name{Organization: []string{"Sallyport"}},
		NotBefore:    now.Add(-clockSkew), NotAfter: now.Add(life - clockSkew),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, nil
}

// PEM gives the certificate that programs inside must trust.
func (a *Authority) PEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw})
}

// certificate gives a certificate for exactly one host.
func (a *Authority) certificate(host string) (*tls.Certificate, error) {
	now := a.now()
	a.mu.Lock()
	defer a.mu.Unlock()
	if c := a.leaves[host]; c != nil && now.Before(c.Leaf.NotAfter.Add(-leafLife/24)) {
		return c, nil
	}
	t, err := template(now, leafLife)
	if err != nil {
		return nil, err
	}
	t.KeyUsage = x509.KeyUsageDigitalSignature
	if ip, err := netip.ParseAddr(host); err == nil {
		t.IPAddresses = append(t.IPAddresses, ip.AsSlice())
	} else {
		t.DNSNames = []string{host}
	}
	der, err := x509.CreateCertificate(rand.Reader, t, a.cert, a.leaf.Public(), a.key)
	if err != nil {
		return nil, fmt.Errorf("proxy.certificate: %w", err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("proxy.certificate: %w", err)
	}
	if len(a.leaves) >= maxLeaves {
		clear(a.leaves) // making one takes less than a handshake
	}
	c := &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: a.leaf, Leaf: leaf}
	a.leaves[host] = c
	return c, nil
}
