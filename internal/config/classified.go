package config

// Labels gives levels and compartments the operator's own names.
type Labels struct {
	Levels       []string `json:"levels,omitempty"`       // at most 4, lowest first; absent: public, internal, confidential, secret
	Compartments []string `json:"compartments,omitempty"` // at most 64
}

// Organisation says who stands above whom among the agents. Orders go down and
// are as trusted as who gave them; what comes up is data.
type Organisation struct {
	Tiers    []OrgTier    `json:"tiers,omitempty"`    // highest first; the first one is the core, which alone talks to people
	Channels []OrgChannel `json:"channels,omitempty"` // who may write to whom; what is not listed is denied
	Agencies []Agency     `json:"agencies,omitempty"` // who must sign which kinds of instruction
	// ExtractBits is how many bits a run may extract from foreign data with its
	// integrity raised (rule R7), 0 to 65,536.
	ExtractBits int `json:"extract_bits"`
}

// OrgTier is one tier of the hierarchy.
type OrgTier struct {
	Name   string   `json:"name"`
	Agents []string `json:"agents"` // usernames; an agent belongs to one tier at most
}

// OrgChannel is a mailbox with a fixed label between two tiers.
type OrgChannel struct {
	From  string `json:"from"`  // tier
	To    string `json:"to"`    // tier
	Label string `json:"label"` // fixed label of what arrives; upward its integrity is foreign
}

// Agency says whose signatures an action needs.
type Agency struct {
	Kinds []string `json:"kinds"`          // agent.instruct, data.lower, data.erase, trust.change …
	Type  string   `json:"type,omitempty"` // type of instruction; "" means every type
	Sign  []string `json:"sign"`           // "2:owner", "1:finance": distinct people of a group of the trust file
}

// Folder is a directory of the host with a label. A session sees it only after
// its context was raised to that label.
type Folder struct {
	Path   string   `json:"path"`             // absolute
	Label  string   `json:"label"`            // of everything in it
	At     string   `json:"at,omitempty"`     // where a session finds it; "" means at its own path
	Agents []string `json:"agents,omitempty"` // who may open it: usernames; empty means every agent that is cleared
}

// Clearances are the highest labels that destinations without a setting of
// their own may receive.
type Clearances struct {
	Tools    map[string]string `json:"tools,omitempty"`    // by tool.call target, or a beginning ending in *
	Messages map[string]string `json:"messages,omitempty"` // by message.send target, or a beginning ending in *
}

// Vault says where the root key of classified items lies.
type Vault struct {
	Root    string `json:"root"`              // file, passphrase or keyring
	File    string `json:"file,omitempty"`    // with root file: its path; "" means keys/vault in the state directory
	Keyring string `json:"keyring,omitempty"` // with root keyring: service/user
}
