package config

import (
	"path/filepath"
	"slices"

	"sallyport/internal/fault"
)

// Profile is a named bundle of limits: what a session sees, keeps and reaches.
type Profile struct {
	Description string   `json:"description,omitempty"`
	Extends     string   `json:"extends,omitempty"`  // the profile it was made from; "none": from nothing
	Commands    []string `json:"commands,omitempty"` // program names that select it
	View        string   `json:"view"`               // auditor or workspace
	Workdir     string   `json:"workdir"`            // cow, direct or read-only

	EnableCommandExecution *bool  `json:"enable_command_execution,omitempty"` // nil: security.enable_command_execution
	ViewLabel              string `json:"view_label"`
	RequiredTier           string `json:"required_tier"` // full or landlock
	LocalSockets           bool   `json:"local_sockets"`

	Mounts  []Mount           `json:"mounts,omitempty"`
	Home    []HomeFile        `json:"home,omitempty"`
	Sockets []Socket          `json:"sockets,omitempty"`
	Env     map[string]string `json:"env,omitempty"` // ${run.…} and ${secret.…} are not yet replaced, see Environ
	EnvPass []EnvPass         `json:"env_pass,omitempty"`

	Protected []string `json:"protected,omitempty"` // globs whose changes need an explicit yes at commit
	Pinned    []string `json:"pinned,omitempty"`    // paths below the working directory that stay as they are

	Network Network  `json:"network"`
	Secrets []string `json:"secrets,omitempty"` // names of Config.Secrets
	Limits  Limits   `json:"limits,omitzero"`
}

// Limits bounds one session; 0 means the sandbox's own default.
type Limits struct {
	Memory      int64 `json:"memory,omitempty"`       // bytes of all processes together
	PIDs        int   `json:"pids,omitempty"`         // processes and threads at one time
	CPUSeconds  int   `json:"cpu_seconds,omitempty"`  // CPU time of one process
	CPUPercent  int   `json:"cpu_percent,omitempty"`  // share of one CPU, all processes together; 200 is two CPUs
	WallSeconds int   `json:"wall_seconds,omitempty"` // life of a session
	FileSize    int64 `json:"file_size,omitempty"`    // bytes of the largest file written
	Disk        int64 `json:"disk,omitempty"`         // bytes all changes together may take
	DiskFiles   int   `json:"disk_files,omitempty"`   // files and directories all changes may make
	Tmp         int64 `json:"tmp,omitempty"`          // bytes of each private temporary file system
}

// Mount shows a host path read-only. Path may start with ~ and hold ${env.X}
// until [Profile.Expand].
type Mount struct {
	Path     string `json:"path"`
	View     string `json:"view,omitempty"` // absolute path inside; "": the same
	Why      string `json:"why,omitempty"`
	Optional bool   `json:"optional,omitempty"` // absent on the host: left out
}

// HomeFile is a file or directory of the private home. Without Content it is
// copied once from the same path of the operator's home, and left out when it
// does not exist there; with Content it is written at each start. Of two
// entries for one path the later counts.
type HomeFile struct {
	Path    string `json:"path"` // relative to both homes, clean
	Content string `json:"content,omitempty"`
	Why     string `json:"why,omitempty"`
}

// Socket is a host socket file that may be connected to.
type Socket struct {
	Path string `json:"path"`
	Why  string `json:"why,omitempty"`
}

// EnvPass is a variable whose value comes from the operator's environment.
type EnvPass struct {
	Name string `json:"name"`
	Why  string `json:"why,omitempty"`
}

// Network says what the connections of a session may reach.
type Network struct {
	Off      bool                `json:"off"`                // no network at all; the rest is then empty
	Unlisted string              `json:"unlisted,omitempty"` // deny or ask; "" in Config.Network: each profile's own
	Allow    []NetRule           `json:"allow,omitempty"`
	Hosts    map[string][]string `json:"hosts,omitempty"` // addresses by name, the operator's own mapping
	Roots    string              `json:"roots,omitempty"` // PEM file of further certificate authorities for upstream
}

// NetRule lists one destination.
type NetRule struct {
	Host      string   `json:"host"`                // name, *.suffix (not the suffix itself), address or range
	Ports     []uint16 `json:"ports,omitempty"`     // empty: 443
	Methods   []string `json:"methods,omitempty"`   // empty: all; else judged per request
	Paths     []string `json:"paths,omitempty"`     // exact, or a beginning with * at its end; empty: all
	Programs  []string `json:"programs,omitempty"`  // absolute paths or base names; empty: all. It narrows, it does not confine
	Clearance string   `json:"clearance,omitempty"` // highest label it may receive; "": the profile's view_label
	Label     string   `json:"label,omitempty"`     // of what comes back; "": public/foreign
	Private   bool     `json:"private,omitempty"`   // it may be a private or loopback address
	Why       string   `json:"why,omitempty"`
}

// Secret binds a value, which this room never reads, to one host.
type Secret struct {
	From        SecretSource `json:"from"`
	Host        string       `json:"host"`
	Port        uint16       `json:"port,omitempty"` // 0: 443
	Inject      []Injection  `json:"inject"`
	Placeholder string       `json:"placeholder"`        // what the session sees, with {random} in it
	Env         string       `json:"env,omitempty"`      // variable that shows the placeholder inside
	Optional    bool         `json:"optional,omitempty"` // its source has no value: the session starts without it
	Why         string       `json:"why,omitempty"`
}

// SecretSource says where a secret's value is; exactly one field is set.
type SecretSource struct {
	Env     string   `json:"env,omitempty"`
	File    string   `json:"file,omitempty"`
	Keyring string   `json:"keyring,omitempty"` // service/user
	Command []string `json:"command,omitempty"` // program and arguments, no shell
}

// Injection is one place of a request; exactly one of the places is set.
type Injection struct {
	Header   string `json:"header,omitempty"`
	Template string `json:"template,omitempty"` // with Header only: text around {}; "": {}
	Query    string `json:"query,omitempty"`
	JSON     string `json:"json,omitempty"` // dotted path of a body field
	Form     string `json:"form,omitempty"`
	Basic    string `json:"basic,omitempty"` // user name; the value is the password
}

// DefaultPort is where a rule or a secret without a port applies.
const DefaultPort = 443

// Profile gives a profile with everything filled in: the top-level network
// rules joined (unless it has no network), ports, clearances and labels of
// every rule set. The caller owns it. An unknown name is an error of kind
// fault.Config that lists the known ones.
func (c *Config) Profile(name string) (Profile, error) {
	p, ok := c.Profiles[name]
	if !ok {
		return Profile{}, c.unknown("profiles", "profile", name, sortedKeys(c.Profiles))
	}
	// bind copies deeply, so that nobody shares lists with the configuration.
	var out Profile
	if err := bind(p, &out); err != nil {
		return Profile{}, fault.Wrap("config.profile", fault.Internal, err)
	}
	n := &out.Network
	if n.Off || c.Network.Off {
		*n = Network{Off: true, Unlisted: "deny"}
		return out, nil
	}
	n.Allow = append(n.Allow, slices.Clone(c.Network.Allow)...)
	for host, addrs := range c.Network.Hosts {
		if _, own := n.Hosts[host]; own {
			continue
		}
		if n.Hosts == nil {
			n.Hosts = map[string][]string{}
		}
		n.Hosts[host] = slices.Clone(addrs)
	}
	for _, or := range []string{c.Network.Unlisted, "deny"} {
		if n.Unlisted == "" {
			n.Unlisted = or
		}
	}
	if n.Roots == "" {
		n.Roots = c.Network.Roots
	}
	for i := range n.Allow {
		n.Allow[i] = n.Allow[i].complete(out.ViewLabel)
	}
	return out, nil
}

func (r NetRule) complete(viewLabel string) NetRule {
	if len(r.Ports) == 0 {
		r.Ports = []uint16{DefaultPort}
	}
	if r.Clearance == "" {
		r.Clearance = viewLabel
	}
	if r.Label == "" {
		r.Label = "public/foreign"
	}
	return r
}

// Offline reports that a resolved profile reaches nothing: its session needs no
// network of any kind.
func (n Network) Offline() bool { return n.Off || len(n.Allow) == 0 && n.Unlisted != "ask" }

// ProfileFor gives the profile that a program selects by its base name; ok is
// false when none does.
func (c *Config) ProfileFor(program string) (name string, ok bool) {
	base := filepath.Base(program)
	for _, name := range sortedKeys(c.Profiles) {
		if slices.Contains(c.Profiles[name].Commands, base) {
			return name, true
		}
	}
	return "", false
}

// SecretsOf gives the secrets a profile uses by name, ports filled in.
func (c *Config) SecretsOf(p Profile) map[string]Secret {
	out := make(map[string]Secret, len(p.Secrets))
	for _, name := range p.Secrets {
		s, ok := c.Secrets[name]
		if !ok {
			continue // refused when the file was read
		}
		if s.Port == 0 {
			s.Port = DefaultPort
		}
		out[name] = s
	}
	return out
}
