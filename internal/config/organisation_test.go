package config

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sallyport/internal/action"
)

// house is an organisation that is right; each bad one changes one line of it.
const house = `labels:
  compartments: [hr, finance]
agents:
  chief: {profile: desk, clearance: "secret{hr,finance}", memory: internal/member}
  reviewer: {profile: desk, clearance: confidential}
  scout: {profile: shell}
organisation:
  tiers:
    - {name: core, agents: [chief]}
    - {name: auditor, agents: [reviewer]}
    - {name: edge, agents: [scout]}
  channels:
    - {from: core, to: edge, label: public/member}
    - {from: edge, to: core, label: public/foreign}
  agencies:
    - {kinds: [agent.instruct], type: payroll, sign: ["1:owner", "2:finance"]}
    - {kinds: [data.lower, data.erase], sign: ["2:owner"]}
folders:
  hr: {path: /srv/hr, label: "secret{hr}", agents: [chief]}
clearances:
  messages: {"ops/*": internal}
`

func TestOrganisation(t *testing.T) {
	cfg, err := Parse("sallyport.yaml", []byte(house))
	if err != nil {
		t.Fatal(err)
	}
	// Labels are kept by their standard names, and shown with the operator's.
	if got := []string{cfg.Agents["chief"].Clearance, cfg.Folders["hr"].Label, cfg.Agents["reviewer"].Clearance}; !slices.Equal(got, []string{"secret{c0,c1}/foreign", "secret{c0}/foreign", "confidential"}) {
		t.Errorf("labels = %q", got)
	}
	if got := cfg.Shown(cfg.Folders["hr"].Label); got != "secret{hr}/foreign" {
		t.Errorf("shown = %s", got)
	}
	o := cfg.Organisation
	for agent, want := range map[string][]string{"chief": {"reviewer", "scout"}, "reviewer": {"scout"}, "scout": nil, "nobody": nil} {
		if diff := cmp.Diff(want, o.Below(agent)); diff != "" {
			t.Errorf("below %s: %s", agent, diff)
		}
	}
	if place, ok := o.TierOf("reviewer"); place != 1 || !ok {
		t.Errorf("reviewer is in tier %d, %v", place, ok)
	}
	if _, ok := o.TierOf("nobody"); ok {
		t.Error("nobody belongs to a tier")
	}
	if tier, place, ok := o.Tier("edge"); tier.Name != "edge" || place != 2 || !ok {
		t.Errorf("edge = %v %d %v", tier, place, ok)
	}
	if len(cfg.Notices) != 0 {
		t.Errorf("notices: %q", cfg.Notices)
	}
}

// TestAgencyKinds: the list of kinds follows the one table of capabilities.
func TestAgencyKinds(t *testing.T) {
	var want []string
	for _, row := range action.Kinds() {
		want = append(want, string(row.Kind))
	}
	if diff := cmp.Diff(want, agencyKinds); diff != "" {
		t.Error(diff)
	}
}

// bad gives the right organisation with one text replaced, and the place of the
// mark | in what replaces it.
func bad(t *testing.T, old, now string) (in string, line, col int) {
	t.Helper()
	if strings.Count(house, old) != 1 {
		t.Fatalf("%q is not once in the organisation", old)
	}
	in = strings.Replace(house, old, now, 1)
	at := strings.Index(in, "|")
	line = 1 + strings.Count(in[:at], "\n")
	col = at - strings.LastIndex(in[:at], "\n")
	return strings.Replace(in, "|", "", 1), line, col
}

func TestBadOrganisation(t *testing.T) {
	for name, tt := range map[string]struct{ old, now, key, says string }{
		"tier twice":             {"{name: auditor,", "{name: |core,", "organisation.tiers[1].name", `another tier called "core"`},
		"agent twice":            {"agents: [reviewer]}", "agents: [|chief]}", "organisation.tiers[1].agents[0]", "chief already belongs to the tier core"},
		"agent twice in one":     {"agents: [scout]}", "agents: [scout, |scout]}", "organisation.tiers[2].agents[1]", "already belongs to the tier edge"},
		"agent unknown":          {"agents: [scout]}", "agents: [|scuot]}", "organisation.tiers[2].agents[0]", "did you mean scout?"},
		"empty tier":             {"agents: [scout]}", "agents: |[]}", "organisation.tiers[2].agents", "names no agent"},
		"channel from nowhere":   {"{from: core,", "{from: |cor,", "organisation.channels[0].from", "did you mean core?"},
		"channel to nowhere":     {"to: core,", "to: |press,", "organisation.channels[1].to", "use one of core, auditor, edge"},
		"channel twice":          {"{from: edge, to: core,", "|{from: core, to: edge,", "organisation.channels[1]", "a mailbox has one label"},
		"upward order":           {"label: public/foreign", "label: |public/member", "organisation.channels[1].label", "use public/foreign"},
		"beside as an order":     {"{from: edge, to: core, label: public/foreign", "{from: edge, to: edge, label: |public/member", "organisation.channels[1].label", "from beside"},
		"mail as signed":         {"label: public/member", "label: |public/signed", "organisation.channels[0].label", "pass for a signed instruction"},
		"above the reader":       {"label: public/member", "label: |internal/member", "organisation.channels[0].label", "above the clearance of scout"},
		"compartment of another": {"label: public/member", "label: |\"public{hr}/member\"", "organisation.channels[0].label", "public{hr}/member is above the clearance of scout"},
		"unknown level":          {"label: public/member", "label: |publik/member", "organisation.channels[0].label", "did you mean public?"},
		"unknown compartment":    {`"secret{hr,finance}"`, `|"secret{hr,sales}"`, "agents.chief.clearance", "add it at the end of labels.compartments:, or use hr, finance"},
		"unknown integrity":      {"label: public/foreign", "label: |public/trusted", "organisation.channels[1].label", `the integrity "trusted"`},
		"core outside":           {"chief: {profile: desk", "chief: {profile: |shell", "agents.chief.profile", "which never talks outside"},
		"core by default":        {"agents:\n  chief: {profile: desk, ", "network: {allow: [{host: a.example.org}]}\nagents:\n  |chief: {", "agents.chief", "the profile workspace has a network"},
		"kind":                   {"[data.lower, data.erase]", "[data.lower, |data.erased]", "organisation.agencies[1].kinds[1]", "did you mean data.erase?"},
		"no kind":                {"[data.lower, data.erase]", "|[]", "organisation.agencies[1].kinds", "asks for nothing"},
		"no signature":           {`sign: ["2:owner"]`, "sign: |[]", "organisation.agencies[1].sign", "asks for nothing"},
		"form of a group":        {`"2:finance"`, `|"2:Finance"`, "organisation.agencies[0].sign[1]", "COUNT:GROUP"},
		"nobody of a group":      {`"2:finance"`, `|"0:finance"`, "organisation.agencies[0].sign[1]", "COUNT:GROUP"},
		"group twice":            {`"2:finance"`, `|"2:owner"`, "organisation.agencies[0].sign[1]", "twice"},
		"type of no instruction": {"kinds: [agent.instruct], type: payroll", "kinds: [data.lower], type: |payroll", "organisation.agencies[0].type", "only instructions have a type"},
		"memory above":           {"memory: internal/member", `memory: |"secret{*}/member"`, "agents.chief.memory", "could never read its own note"},
		"level twice":            {"labels:\n", "labels:\n  levels: [open, |open]\n", "labels.levels[1]", "choose another for one"},
		"level of another":       {"labels:\n", "labels:\n  levels: [open, |secret]\n", "labels.levels[1]", "standard name of number 3"},
		"five levels":            {"labels:\n", "labels:\n  levels: [a, b, c, d, |e]\n", "labels.levels[4]", "remove some"},
		"compartment twice":      {"[hr, finance]", "[hr, |hr]", "labels.compartments[1]", "choose another for one"},
		"compartment's form":     {"[hr, finance]", "[hr, |HR]", "labels.compartments[1]", "lower-case letter"},
		"folder of a stranger":   {"agents: [chief]}\nclearances", "agents: [|scout]}\nclearances", "folders.hr.agents[0]", "scout is cleared for public/foreign, and the folder is secret{hr}/foreign"},
		"folder of nobody":       {"agents: [chief]}\nclearances", "agents: [|chiefs]}\nclearances", "folders.hr.agents[0]", "did you mean chief?"},
		"folder in a folder":     {"clearances:", "  all: {path: |/srv, label: secret}\nclearances:", "folders.all.path", "two labels"},
		"folder at a folder":     {"clearances:", "  all: |{path: /opt/x, at: /srv/hr/x, label: secret}\nclearances:", "folders.all", "give one of them another at:"},
		"folder by a path":       {"path: /srv/hr,", "path: |/srv/hr,", "folders.hr.path", ""},
		"all mail":               {`"ops/*"`, `|"mail/*"`, "clearances.messages.mail/*", "organisation.channels"},
		"everything":             {`"ops/*"`, `|"*"`, "clearances.messages.*", "organisation.channels"},
		"one mailbox":            {`"ops/*"`, `|"mail/scout/core"`, "clearances.messages.mail/scout/core", "organisation.channels"},
		"a beginning of mail":    {`"ops/*"`, `|"ma*"`, "clearances.messages.ma*", "organisation.channels"},
	} {
		t.Run(name, func(t *testing.T) {
			in, line, col := bad(t, tt.old, tt.now)
			if name == "folder by a path" {
				in += "security: {allowed_file_paths: [/srv/hr/2026]}\n"
				tt.says = "security.allowed_file_paths (/srv/hr/2026)"
			}
			refused(t, map[string]refusal{"": {in, place{line, col, tt.key}, tt.says}})
		})
	}
	refused(t, map[string]refusal{
		"folder by a mount":       {"profiles: {shell: {mounts: [{path: /srv}]}}\nfolders: {x: {path: /srv/x, label: secret}}\n", place{2, 21, "folders.x.path"}, "by a mount of the profile"},
		"vault, file of another":  {"vault: {root: passphrase, file: x}\n", place{1, 27, "vault.file"}, "root: passphrase"},
		"vault, entry of another": {"vault: {keyring: a/b}\n", place{1, 9, "vault.keyring"}, "root: file"},
		"vault, no entry":         {"vault: {root: keyring}\n", place{1, 9, "vault.root"}, "service/user"},
		"no compartment at all":   {"agents: {a: {clearance: \"secret{hr}\"}}\n", place{1, 25, "agents.a.clearance"}, "which names none"},
	})
}

// TestNamedLabels: every label of a file is read with the names of that file,
// and a file of a profile with those of the configuration that it serves.
func TestNamedLabels(t *testing.T) {
	const conf = "labels: {levels: [open, house, board, crown], compartments: [hr]}\n" +
		"agents: {a: {clearance: \"crown{hr}\", profile: own}}\nendpoints: {anthropic: {clearance: house}, openai: {clearance: internal}}\n"
	f, err := ParseProfile("own.yaml", []byte("extends: offline\nview_label: \"board{hr}/member\"\n"))
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := Parse("sallyport.yaml", []byte(conf), f)
	if err != nil {
		t.Fatal(err)
	}
	got := []string{cfg.Agents["a"].Clearance, cfg.Endpoints["anthropic"].Clearance, cfg.Endpoints["openai"].Clearance, cfg.Profiles["own"].ViewLabel}
	if diff := cmp.Diff([]string{"secret{c0}/foreign", "internal/foreign", "internal", "confidential{c0}/member"}, got); diff != "" {
		t.Error(diff)
	}
	for name, text := range map[string]string{"another's names": "labels: {compartments: [finance]}\n", "no names": ""} {
		_, err := Parse("sallyport.yaml", []byte(text), f)
		es := flat(t, err)
		if len(es) != 1 || es[0].Pos != (Position{File: "own.yaml", Line: 2, Column: 13}) || es[0].Key != "view_label" {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestEdgeNotice: the one combination that is allowed and seldom meant.
func TestEdgeNotice(t *testing.T) {
	for clear, want := range map[string]int{"public": 0, "internal": 0, "confidential": 1, "public{hr}": 1} {
		cfg, err := Parse("sallyport.yaml", []byte(strings.Replace(house, "scout: {profile: shell}", `scout: {profile: shell, clearance: "`+clear+`"}`, 1)))
		if err != nil || len(cfg.Notices) != want {
			t.Errorf("%s: %q, %v", clear, cfg.Notices, err)
		}
	}
}

// TestNamedConfig: what people are shown has the configured names, and loads
// as the same configuration.
func TestNamedConfig(t *testing.T) {
	cfg, err := Parse("sallyport.yaml", []byte(house))
	if err != nil {
		t.Fatal(err)
	}
	named, err := cfg.Named()
	if err != nil {
		t.Fatal(err)
	}
	if got := []string{named.Agents["chief"].Clearance, named.Agents["reviewer"].Clearance, named.Folders["hr"].Label}; !slices.Equal(got, []string{"secret{hr,finance}/foreign", "confidential", "secret{hr}/foreign"}) {
		t.Errorf("named = %q", got)
	}
	b, err := json.Marshal(named)
	if err != nil {
		t.Fatal(err)
	}
	again, err := Parse("sallyport.json", b)
	if err != nil {
		t.Fatal(err)
	}
	again.Path = cfg.Path
	if diff := cmp.Diff(cfg, again, cmp.AllowUnexported(Config{})); diff != "" {
		t.Error(diff)
	}
}
