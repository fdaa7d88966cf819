package approval

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"

	"github.com/hiddeco/sshsig"
	"golang.org/x/crypto/ssh"

	"sallyport/internal/action"
)

// flags of a hardware key's signature that must be set: the user was present
// (1) and was verified by PIN or biometry (4). ssh-keygen itself does not
// demand them.
const presentAndVerified = 0x05

// Sign makes the DSSE envelope of a payload.
func Sign(payload []byte, signer ssh.Signer) ([]byte, error) {
	sig, err := sshsig.Sign(bytes.NewReader(PAE(payload)), signer, sshsig.HashSHA512, Namespace)
	if err != nil {
		return nil, fmt.Errorf("approval.sign: %w", err)
	}
	return wrap(payload, sig)
}

// wrap makes an envelope of signatures, which are in the order of their keys.
func wrap(payload []byte, sigs ...*sshsig.Signature) ([]byte, error) {
	b64 := base64.StdEncoding.EncodeToString
	list := make([]any, len(sigs))
	for i, sig := range sigs {
		list[i] = map[string]any{"keyid": keyID(sig), "sig": b64(sig.Marshal())}
	}
	return action.Canonical(map[string]any{"payloadType": PayloadType, "payload": b64(payload), "signatures": list})
}

func keyID(sig *sshsig.Signature) string { return ssh.FingerprintSHA256(sig.PublicKey) }

// open reads an envelope of one signature without trusting it.
func open(envelope []byte) (payload []byte, sig *sshsig.Signature, err error) {
	payload, sigs, err := openAll(envelope)
	if err != nil {
		return nil, nil, err
	}
	if len(sigs) != 1 {
		return nil, nil, errNoSignature
	}
	return payload, sigs[0], nil
}

// openAll reads an envelope without trusting it. It accepts one encoding of
// each envelope only, so that a stored one cannot be varied, and one signature
// of each key.
func openAll(envelope []byte) (payload []byte, sigs []*sshsig.Signature, err error) {
	m, err := action.ParseObject(envelope)
	if err != nil {
		return nil, nil, fmt.Errorf("approval.open: %w", err)
	}
	list, _ := m["signatures"].([]any)
	if len(list) > maxSignatures {
		return nil, nil, errors.New("approval.open: an envelope with that many signatures is not read")
	}
	for _, e := range list {
		s, _ := e.(map[string]any)
		blob, err := decode64(s["sig"])
		if err != nil {
			return nil, nil, err
		}
		sig, err := sshsig.ParseSignature(blob)
		if err != nil {
			return nil, nil, fmt.Errorf("approval.open: %w", err)
		}
		if n := len(sigs); n > 0 && bySigner(sigs[n-1], sig) >= 0 {
			return nil, nil, errors.New("approval.open: the signatures are not in the order of their keys")
		}
		sigs = append(sigs, sig)
	}
	if payload, err = decode64(m["payload"]); err != nil {
		return nil, nil, err
	}
	again, err := wrap(payload, sigs...)
	if err != nil || !bytes.Equal(again, envelope) {
		return nil, nil, errors.New("approval.open: the envelope is not in canonical form")
	}
	return payload, sigs, nil
}

func decode64(v any) ([]byte, error) {
	s, _ := v.(string)
	b, err := base64.StdEncoding.Strict().DecodeString(s)
	if err != nil || len(b) == 0 {
		return nil, errors.New("approval.open: payload or signature is not base64")
	}
	return b, nil
}

// verify checks a signature over a payload with a key that is trusted.
func verify(payload []byte, sig *sshsig.Signature, key ssh.PublicKey, namespace string) error {
	if sig.HashAlgorithm != sshsig.HashSHA512 {
		return fmt.Errorf("approval.verify: hash %s is not sha512", sig.HashAlgorithm)
	}
	if err := checkFlags(key, sig.Signature); err != nil {
		return err
	}
	if err := sshsig.Verify(bytes.NewReader(PAE(payload)), sig, key, sshsig.HashSHA512, namespace); err != nil {
		return fmt.Errorf("approval.verify: %w", err)
	}
	return nil
}

// keyTypes are those whose signatures are accepted.
var keyTypes = []string{
	ssh.KeyAlgoED25519, ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA384, ssh.KeyAlgoECDSA521, ssh.KeyAlgoSKED25519, ssh.KeyAlgoSKECDSA256,
}

// checkFlags looks at what follows a signature: nothing for an ordinary key,
// flags and a counter for a hardware key.
func checkFlags(key ssh.PublicKey, sig *ssh.Signature) error {
	switch key.Type() {
	case ssh.KeyAlgoED25519, ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA384, ssh.KeyAlgoECDSA521:
		if len(sig.Rest) != 0 {
			return errors.New("approval.verify: bytes after the signature")
		}
		return nil
	case ssh.KeyAlgoSKED25519, ssh.KeyAlgoSKECDSA256:
		if len(sig.Rest) != 5 {
			return errors.New("approval.verify: a hardware key's signature has flags and a counter")
		}
		if sig.Rest[0]&presentAndVerified != presentAndVerified {
			return errors.New("approval.verify: the hardware key did not see its user present and verified (create it with -O verify-required)")
		}
		return nil
	}
	return fmt.Errorf("approval.verify: key type %s is not accepted: use ed25519, ecdsa or a hardware key", key.Type())
}
