package app

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/hiddeco/sshsig"
	"golang.org/x/crypto/ssh"

	"sallyport/internal/approval"
	"sallyport/internal/fault"
	"sallyport/internal/record"
)

// TrustPerson is somebody of the trust file.
type TrustPerson struct {
	Name      string   `json:"name"`
	Groups    []string `json:"groups"`
	Clearance string   `json:"clearance"`
	Keys      []string `json:"keys"` // fingerprints
	Here      bool     `json:"here"` // holds the key of this state directory
}

// TrustInfo is the trust file in force, or what holds without one.
type TrustInfo struct {
	Version  int64          `json:"version"` // 0: there is no trust file
	Digest   string         `json:"sha256"`
	Created  *time.Time     `json:"created,omitempty"`
	Expires  *time.Time     `json:"expires,omitempty"`
	People   []TrustPerson  `json:"people"`
	Groups   map[string]int `json:"groups"`             // thresholds
	Proposal *TrustChange   `json:"proposal,omitempty"` // that waits
}

// Trust gives who is trusted now.
func (a *App) Trust(ctx context.Context) (TrustInfo, error) {
	if _, ok, err := a.reader(ctx); err != nil || !ok { // looking makes nothing
		return TrustInfo{People: []TrustPerson{}, Groups: map[string]int{approval.OwnerGroup: 1}}, err
	}
	src, r, digest, err := a.trustBase(ctx)
	if err != nil {
		return TrustInfo{}, err
	}
	t := r.Trust()
	out := TrustInfo{Version: t.Version, Digest: digest, People: []TrustPerson{}, Groups: map[string]int{approval.OwnerGroup: t.Threshold(approval.OwnerGroup)}}
	if t.Version > 0 {
		out.Created, out.Expires = &t.Created, &t.Expires
	}
	for g := range t.Thresholds {
		out.Groups[g] = t.Threshold(g)
	}
	here := personOf(r, src.owner)
	for _, p := range t.People {
		out.People = append(out.People, TrustPerson{
			Name: p.Name, Groups: sorted(p.Groups), Clearance: p.Clearance.String(), Keys: prints(p.Keys), Here: p.Name == here,
		})
	}
	if s, err := src.proposal(r, digest); err == nil {
		c := TrustChange{Version: s.Trust.Version, Digest: s.Digest(), State: "proposed", Signed: signersOf(s, r), Changes: trustDiff(t, s.Trust)}
		if _, err := s.VerifyFrom(r, digest); err != nil {
			c.Waits = fault.PublicText(err)
		}
		out.Proposal = &c
	}
	return out, nil
}

// TrustStep is one version of the chain, and whether it follows.
type TrustStep struct {
	Version int64    `json:"version"`
	Digest  string   `json:"sha256"`
	Signed  []string `json:"signed"`
}

// VerifyTrust verifies the whole chain: each version is signed by the threshold
// of the owners of the one before and of its own, from the key of this state
// directory to the version that is pinned.
func (a *App) VerifyTrust(ctx context.Context) ([]TrustStep, error) {
	src, r, pin, err := a.trustBase(ctx)
	if err != nil {
		return nil, err
	}
	out := []TrustStep{}
	at, err := src.load(0, "", false)
	if err != nil {
		return nil, err
	}
	digest := ""
	for v := int64(1); v <= r.Trust().Version; v++ {
		name := fmt.Sprintf(oldTrustFiles, v)
		if v == r.Trust().Version {
			name = trustFile
		}
		s, err := src.read(name)
		if err != nil {
			return out, err
		}
		next, err := s.VerifyFrom(at, digest)
		if err != nil {
			return out, &fault.Error{Op: "app.trust", Kind: fault.Corrupt, Public: fmt.Sprintf("keys/%s does not follow from the version before it, so the chain is broken there", name), Err: err}
		}
		out = append(out, TrustStep{v, s.Digest(), signersOf(s, at)})
		at, digest = next, s.Digest()
	}
	if digest != pin {
		return out, fault.New("app.trust", fault.Corrupt, "the chain ends in a version that is not the one in force (SHA-256 %s)", pin)
	}
	return out, nil
}

// ExportTrust writes, into a directory that must not exist yet, what verifies
// signatures without Sallyport: allowed_signers and, of every version, the
// envelope, its own allowed_signers, the signed bytes and each signature as
// ssh-keygen takes it.
func (a *App) ExportTrust(ctx context.Context, dir string) ([]string, error) {
	src, r, _, err := a.trustBase(ctx)
	if err != nil {
		return nil, err
	}
	if err := makeNewDir(dir); err != nil {
		return nil, err
	}
	first, err := src.load(0, "", false)
	if err != nil {
		return nil, err
	}
	w := fileSet{dir: dir}
	w.add("allowed_signers", r.AllowedSigners())
	w.add("allowed_signers.0", first.AllowedSigners())
	for v := int64(1); v <= r.Trust().Version; v++ {
		name := fmt.Sprintf(oldTrustFiles, v)
		file := name
		if v == r.Trust().Version {
			file = trustFile
		}
		s, err := src.read(file)
		if err != nil {
			return nil, err
		}
		envelope, err := s.Envelope()
		if err != nil {
			return nil, err
		}
		at, err := approval.NewRoster(s.Trust)
		if err != nil {
			return nil, err
		}
		w.add(name, envelope)
		w.add(fmt.Sprintf("allowed_signers.%d", v), at.AllowedSigners())
		w.add(fmt.Sprintf("trust.%d.statement", v), approval.PAE(s.Payload))
		for i, sig := range s.Signatures() {
			w.add(fmt.Sprintf("trust.%d.%d-%s.sig", v, i+1, nameIn(at, sig.PublicKey)), sshsig.Armor(sig))
		}
	}
	return w.write()
}

// WriteEvidence writes, into a directory that must not exist yet, what verifies
// an ask and its answers without Sallyport; docs/approvals.md says how.
func (a *App) WriteEvidence(ctx context.Context, id, dir string) ([]string, error) {
	svc, _, err := a.desk(ctx, id)
	if err != nil {
		return nil, err
	}
	e, err := svc.Evidence(ctx, id)
	if err != nil {
		return nil, err
	}
	if err := makeNewDir(dir); err != nil {
		return nil, err
	}
	w := fileSet{dir: dir}
	w.add("allowed_signers", e.Signers)
	w.add("payload.json", e.Payload)
	w.add("action.json", e.Action)
	for i, x := range e.Answers {
		verb := "yes"
		if x.Kind == record.StatementDeny {
			verb = "no"
		}
		who := x.Person
		if who == "" {
			who = "nobody"
		}
		name := fmt.Sprintf("%d-%s-%s", i+1, who, verb)
		w.add(name+".statement", x.Signed)
		w.add(name+".sig", x.Armor)
	}
	return w.write()
}

func nameIn(r *approval.Roster, k ssh.PublicKey) string {
	if name := personOf(r, k); name != "" {
		return name
	}
	return "previous-owner"
}

// makeNewDir makes a directory, mode 0700, that must not exist yet.
func makeNewDir(dir string) error {
	err := os.Mkdir(dir, 0o700)
	if errors.Is(err, fs.ErrExist) {
		return fault.New("app.export", fault.Conflict, "%s exists; name a new directory", dir)
	}
	return fault.Wrap("app.export", fault.Unavailable, err)
}

// fileSet is files that are written together.
type fileSet struct {
	dir   string
	names []string
	data  [][]byte
}

func (w *fileSet) add(name string, data []byte) {
	w.names, w.data = append(w.names, name), append(w.data, data)
}

func (w *fileSet) write() ([]string, error) {
	for i, name := range w.names {
		if err := writeNew(filepath.Join(w.dir, name), w.data[i]); err != nil {
			return nil, err
		}
	}
	return slices.Clone(w.names), nil
}
