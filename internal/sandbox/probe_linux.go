package sandbox

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"

	"sallyport/internal/fault"
)

// Probe finds out what this machine provides by starting and ending real
// sandboxes: versions and settings say less than one attempt.
func Probe(ctx context.Context) Report {
	dir, err := os.MkdirTemp("", "sallyport-probe-")
	if err != nil {
		return Report{Primitives: []Primitive{{Name: "temporary-directory", Detail: err.Error(), Remedy: "make the temporary directory writable"}}}
	}
	defer os.RemoveAll(dir)
	var failed []Primitive
	for _, tier := range []Tier{TierFull, TierLandlock} {
		spec := Spec{View: ViewAuditor, Home: dir, MinTier: tier}
		spec, err := spec.normalise()
		if err == nil {
			var sb *Sandbox
			if sb, err = startTier(ctx, spec, tier); err == nil {
				r := sb.Report()
				r.Primitives = append(failed, r.Primitives...)
				_ = sb.Close()
				if tier == TierFull {
					r.Primitives = append(r.Primitives, probeNetwork(ctx, dir)...)
				}
				return r
			}
		}
		failed = append(failed, asStep(err).primitive())
	}
	return Report{Tier: TierNone, Primitives: failed, NotPromised: []string{"Nothing can be confined on this machine, so nothing will be run."}}
}

// probeNetwork tries the workspace view's network, which the auditor's view
// lacks.
func probeNetwork(ctx context.Context, dir string) []Primitive {
	spec, err := Spec{View: ViewWorkspace, Workdir: dir, Network: NetworkHandoff}.normalise()
	if err != nil {
		return []Primitive{asStep(err).primitive()}
	}
	sb, err := startTier(ctx, spec, TierFull)
	if err != nil {
		return []Primitive{asStep(err).primitive()}
	}
	defer sb.Close()
	return slices.DeleteFunc(sb.Report().Primitives, func(p Primitive) bool {
		return p.Name != "pid-namespace" && p.Name != "net-namespace" && p.Name != "nft"
	})
}

func (e *stepError) primitive() Primitive {
	d := e.Detail
	if e.Errno != "" {
		d = e.Errno + ": " + d
	}
	return Primitive{Name: e.Primitive, Detail: d, Remedy: e.Remedy}
}

// remedyFor gives the likeliest cause that an administrator can change,
// judged by what the machine says now.
func remedyFor(primitive string) string {
	switch primitive {
	case "user-namespace", "mount-namespace", "pid-namespace":
		switch {
		case sysctl("kernel/apparmor_restrict_unprivileged_userns") == "1":
			return "AppArmor restricts unprivileged user namespaces (the default of Ubuntu 24.04): give the program an AppArmor profile with 'userns,' or set kernel.apparmor_restrict_unprivileged_userns=0"
		case sysctl("kernel/unprivileged_userns_clone") == "0":
			return "set kernel.unprivileged_userns_clone=1"
		case sysctl("user/max_user_namespaces") == "0":
			return "raise user.max_user_namespaces above 0"
		}
		return "allow user and mount namespaces; in a container that means its seccomp profile must permit unshare and mount"
	case "proc-mount":
		return "a container that masks parts of /proc forbids mounting a fresh one: start it with an unmasked /proc (systempaths=unconfined), or use the auditor view"
	case "landlock":
		return "boot a kernel from 5.13 on with landlock in the lsm= list"
	case "seccomp":
		return "use a kernel with CONFIG_SECCOMP_FILTER"
	case "nft":
		return "use a kernel with nf_tables, its tproxy and nat expressions and connection tracking, or load these modules (nf_tables, nft_tproxy, nft_redir, nft_ct, nft_limit)"
	case "net-namespace":
		return "allow network namespaces for this user or container"
	}
	return ""
}

func sysctl(name string) string {
	b, err := os.ReadFile("/proc/sys/" + name)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// refusal is the one clear sentence for a tier that cannot be reached.
func refusal(least Tier, e *stepError) error {
	remedy := e.Remedy
	if remedy == "" {
		remedy = "see the operator's log"
	}
	errno := e.Errno
	if errno == "" {
		errno = "no errno"
	}
	return &fault.Error{
		Op: "sandbox.start", Kind: fault.Unsupported, Err: e,
		Public: fmt.Sprintf("the sandbox tier %s is required and %s is not available here (%s); %s", least, e.Primitive, errno, remedy),
	}
}
