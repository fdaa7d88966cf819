package config

import "regexp"

// dict makes a table of entries whose names the operator chooses.
func dict(doc, form, re string, elem *spec) *spec {
	return &spec{kind: sDict, doc: doc, keyForm: form, keys: regexp.MustCompile(re), elem: elem}
}

func list(doc string, elem *spec) *spec { return &spec{kind: sList, doc: doc, elem: elem} }

const (
	wordRE   = `^[a-z][a-z0-9_-]{0,31}$`
	wordForm = "a lower-case letter and up to 31 of a-z, 0-9, _ and -"
)

func labelsSpec() *spec {
	return group("Names of confidentiality levels and of compartments.",
		field{"levels", list("At most four, lowest first; absent: public, internal, confidential, secret.", matching("A level's name.", wordForm, wordRE))},
		field{"compartments", list("At most 64; data of a compartment is read by who is cleared for it.", matching("A compartment's name.", wordForm, wordRE))})
}

func organisationSpec() *spec {
	tier := group("One tier.",
		field{"name", matching("The tier's name.", wordForm, wordRE)},
		field{"agents", texts("Usernames; an agent belongs to one tier.")})
	channel := group("A mailbox with a fixed label between two tiers.",
		field{"from", nonEmpty("The tier that writes.")}, field{"to", nonEmpty("The tier that reads.")},
		field{"label", clearance("Fixed label of what arrives; upward its integrity is foreign.")})
	agency := group("Who must sign what.",
		field{"kinds", texts("Kinds of action: agent.instruct, data.lower, data.erase, trust.change ...")},
		field{"type", matching("Type of instruction; absent: every type.", wordForm, wordRE)},
		field{"sign", list("Distinct people per group of the trust file.", matching("COUNT:GROUP.", `COUNT:GROUP, as in "2:owner"`, `^[1-9][0-9]?:[a-z][a-z0-9_]{0,31}$`))})
	tier.required, channel.required, agency.required = []string{"name", "agents"}, []string{"from", "to", "label"}, []string{"kinds", "sign"}
	return group("Who stands above whom among the agents.",
		field{"tiers", list("Highest first; the first one is the core, which alone is told what to do by people.", tier)},
		field{"channels", list("Who may write to whom; what is not listed is denied.", channel)},
		field{"agencies", list("Whose signatures actions need.", agency)},
		field{"extract_bits", integer("Bits that a run may extract from foreign data with its integrity raised.", 0, 65536)})
}

func foldersSpec() *spec {
	folder := group("A directory with a label.",
		field{"path", &spec{kind: sText, doc: "An absolute directory path.", check: absolutePath}},
		field{"label", clearance("Label of everything in it.")},
		field{"at", &spec{kind: sText, doc: "Where a session finds it; absent: at its own path.", check: absolutePath}},
		field{"agents", texts("Usernames that may open it; absent: every agent that is cleared.")})
	folder.required = []string{"path", "label"}
	return dict("Directories that a session sees only after its context was raised to their label.", wordForm, wordRE, folder)
}

func clearancesSpec() *spec {
	by := func(doc string) *spec {
		return dict(doc, "a target, or a beginning ending in *", `^[^*]+\*?$|^\*$`, clearance("Highest label it may receive."))
	}
	return group("Highest labels of destinations without a setting of their own.",
		field{"tools", by("By tool.")}, field{"messages", by("By channel and recipient.")})
}

func vaultSpec() *spec {
	s := group("Where the root key of classified items lies.",
		field{"root", oneOf("file: in the state directory; passphrase: asked for; keyring: the desktop's.", "file", "passphrase", "keyring")},
		field{"file", nonEmpty("With root: file, its path; absent: keys/vault in the state directory.")},
		field{"keyring", matching("With root: keyring, service/user.", "service/user", `^[^/\s]+/[^/\s]+$`)})
	s.whole = func(n *node) (string, string, string) {
		root := "file"
		if e := n.get("root"); e != nil {
			root = e.val.text
		}
		for _, key := range []string{"file", "keyring"} {
			if n.get(key) != nil && root != key {
				return key, "has no effect with root: " + root, "remove it, or set root: " + key
			}
		}
		if root == "keyring" && n.get("keyring") == nil {
			return "root", "needs the entry that holds the key", "add keyring: service/user"
		}
		return "", "", ""
	}
	return s
}
