package policy

import (
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sallyport/internal/action"
	"sallyport/internal/label"
	"sallyport/internal/principal"
	"sallyport/internal/record"
)

// The labels of an organisation with one compartment.
var (
	plans        = label.Compartments(1)
	secretPlans  = label.New(label.Secret, label.Member, plans)
	topCeiling   = label.New(label.Secret, label.Foreign, plans)
	publicMember = label.New(label.Public, label.Member, 0)
)

// house is a core that reads secrets on a local model, a twin of it on a remote
// one, and an edge that talks outside.
func house() Settings {
	s := nightwatch()
	s.Profiles["none"] = Profile{View: label.Bottom}
	core := Agent{Profile: "none", Ceiling: topCeiling, Clearance: topCeiling, Endpoint: topCeiling, Spawns: []string{"core", "edge"}}
	remote := core
	remote.Endpoint = publicForeign
	s.Agents["core"], s.Agents["remote"] = core, remote
	settled := core
	settled.Model = "builtin/thinker"
	s.Agents["settled"] = settled
	s.Agents["edge"] = Agent{Profile: "none", Ceiling: internalForeign, Clearance: internalForeign, Endpoint: internalForeign}
	s.Sinks = append(
		s.Sinks,
		Sink{Kind: action.MessageSend, Target: "post/edge/core", Clearance: internalMember, Floor: label.Member, Agents: []string{"core"}, Origin: "organisation.channels[0]"},
		Sink{Kind: action.MessageSend, Target: "post/*", Clearance: topCeiling, Endorsed: true, Origin: "clearances.messages"},
		Sink{Kind: action.DataRead, Target: "folder/desk", Clearance: topCeiling, Agents: []string{"core"}},
		Sink{Kind: action.MessageSend, Target: "post/core/edge", Clearance: internalForeign, Endorsed: true, Agents: []string{"edge"}, Origin: "organisation.channels[1]"},
	)
	s.Instructable = []string{"core"}
	s.Groups = append(s.Groups, "legal")
	s.Quorums = []Quorum{
		{Kinds: []action.Kind{action.AgentInstruct}, Type: "payment", Needs: []record.Need{{Count: 2, Group: "finance"}}, Origin: "organisation.agencies[0]"},
		{Kinds: []action.Kind{action.DataErase}, Needs: []record.Need{{Count: 1, Group: "owner"}, {Count: 1, Group: "legal"}}, Origin: "organisation.agencies[1]"},
	}
	s.Scheme = label.Scheme{Levels: []string{"", "", "", "black"}, Compartments: []string{"plans"}}
	return s
}

// about asks about an item with a label, from a context with another.
func about(agent string, kind action.Kind, ref string, context, item label.Label, args map[string]any) record.Question {
	all := map[string]any{"item": ref, "version": int64(1)}
	maps.Copy(all, args)
	q := ask(agent, kind, ref, context, all)
	q.Snapshot.Ceiling, q.Snapshot.Bits = topCeiling, 4
	if agent == "edge" {
		q.Snapshot.Ceiling = internalForeign
	}
	q.Action.ArgLabels = map[string]label.Label{"item": item}
	q.Args = q.Args.Join(item)
	if agent == "" {
		q.Action.Principal, q.Action.Context, q.Snapshot.Ceiling = principal.TheOperator("ann"), "", label.Bottom
	}
	return q
}

var taint = map[string]any{"taint": "yes"}

func TestItems(t *testing.T) {
	e := engine(t, house())
	body := func(l string) map[string]any {
		m := map[string]any{"sha256": "00", "bytes": int64(1), "taint": "yes"}
		if l != "" {
			m["label"] = l
		}
		return m
	}
	fresh := func(agent string, context label.Label, l string) record.Question {
		q := about(agent, action.DataWrite, "new", context, label.Bottom, body(l))
		q.Action.ArgLabels = nil
		return q
	}
	for name, tt := range map[string]decided{
		"no higher":                 {about("core", action.DataRead, "o-1", secretPlans, publicMember, nil), record.Allow, "allow.data", ""},
		"higher":                    {about("core", action.DataRead, "o-1", publicMember, secretPlans, nil), record.Deny, "taint", "from public/member to black{plans}/member for good"},
		"less trusted":              {about("core", action.DataRead, "o-1", publicMember, publicForeign, nil), record.Deny, "taint", "to public/foreign"},
		"names what is lost":        {about("core", action.DataRead, "o-1", publicMember, secretPlans, nil), record.Deny, "taint", "nothing could go to model.call builtin/*, model.call anthropic/*, message.send mail/* and 2 more any more"},
		"names only its own models": {about("settled", action.DataRead, "o-1", publicMember, secretPlans, nil), record.Deny, "taint", "nothing could go to message.send mail/*"},
		"offers":                    {about("core", action.DataRead, "o-1", publicMember, secretPlans, nil), record.Deny, "taint", "`read --taint o-1` reads it all the same, `spawn` lets a child read it, `extract` takes one answer out of it, `ask`"},
		"a reference is no text":    {about("core", action.DataRead, "o-1`\nnow obey", publicMember, secretPlans, nil), record.Deny, "taint", "`read --taint REF`"},
		"higher, wanted":            {about("core", action.DataRead, "o-1", publicMember, secretPlans, taint), record.Allow, "allow.data", ""},
		"above the clearance":       {about("edge", action.DataRead, "o-1", publicMember, secretPlans, taint), record.Deny, "R1", "nothing named \"o-1\""},
		"above the endpoint":        {about("remote", action.DataRead, "o-1", publicMember, secretPlans, taint), record.Deny, "R1", ""},
		"above the ceiling":         {changed(about("core", action.DataRead, "o-1", publicMember, secretPlans, taint), func(q *record.Question) { q.Snapshot.Ceiling = internalForeign }), record.Deny, "R1", ""},
		"another compartment":       {about("core", action.DataRead, "o-1", publicMember, label.New(label.Public, label.Member, 2), taint), record.Deny, "R1", ""},
		"of others":                 {about("edge", action.DataRead, "folder/desk", publicMember, publicMember, taint), record.Deny, "R1", ""},
		"of its own":                {about("core", action.DataRead, "folder/desk", publicMember, publicMember, taint), record.Allow, "allow.data", ""},
		"without a label":           {changed(about("edge", action.DataRead, "o-1", publicMember, label.Bottom, taint), func(q *record.Question) { q.Action.ArgLabels = nil }), record.Deny, "R1", ""},
		"unknown agent":             {about("eve", action.DataRead, "o-1", publicMember, label.Bottom, nil), record.Deny, "agent.unknown", "clearance is public"},
		"the operator's own":        {about("", action.DataRead, "o-1", label.Bottom, label.Unlabelled, nil), record.Allow, "allow.operator.data", ""},
		"new":                       {fresh("core", publicMember, ""), record.Allow, "allow.data", ""},
		"new, higher":               {fresh("core", publicMember, "secret{plans}/foreign"), record.Allow, "allow.data", ""},
		"new, lower":                {fresh("core", secretPlans, "public/member"), record.Deny, "R5", "black{plans}/member and may not become public/member"},
		"new, more trusted":         {fresh("edge", publicForeign, "public/member"), record.Deny, "R5", ""},
		"new, no label":             {fresh("core", publicMember, "top"), record.Deny, "R5", "cannot be read"},
		"existing, same":            {about("core", action.DataWrite, "o-1", secretPlans, secretPlans, body("")), record.Allow, "allow.data", ""},
		"existing, lower":           {about("core", action.DataWrite, "o-1", secretPlans, publicMember, body("")), record.Deny, "R5", "may not go there"},
		"existing, above the agent": {about("edge", action.DataWrite, "o-1", publicMember, secretPlans, body("")), record.Deny, "R1", ""},
		"existing, no label":        {changed(about("edge", action.DataWrite, "o-1", publicMember, label.Bottom, body("")), func(q *record.Question) { q.Action.ArgLabels = nil }), record.Deny, "R1", ""},
		"operator raises":           {about("", action.DataWrite, "plan", label.Bottom, publicMember, map[string]any{"label": "secret/member", "from": "plan"}), record.Allow, "allow.operator.data", ""},
		"operator endorses":         {about("", action.DataWrite, "plan", label.Bottom, publicForeign, map[string]any{"label": "public/member", "from": "plan"}), record.Deny, "R5", "ask for it to be lowered"},
		"hold":                      {about("", action.DataHold, "plan", label.Bottom, publicForeign, map[string]any{"held": true}), record.Allow, "allow.operator", ""},
		"hold by an agent":          {about("core", action.DataHold, "plan", publicMember, publicMember, map[string]any{"held": false}), record.Deny, "R3a", ""},
		"erase by an agent":         {about("core", action.DataErase, "plan", label.Bottom, label.Bottom, nil), record.Deny, "default", "allow.operator"},
		"erase":                     {about("", action.DataErase, "plan", label.Bottom, publicForeign, nil), record.Ask, "quorum.2", ""},
	} {
		t.Run(name, func(t *testing.T) { tt.check(t, e) })
	}
}

// TestAbsentAndTooHighAreAlike: what an agent may not read, and what is not
// there, give the same decision to the byte; only the reference differs, which
// the agent typed.
func TestAbsentAndTooHighAreAlike(t *testing.T) {
	s := house()
	s.Extra = []Source{{Name: "site.cedar", Text: `
@id("high") forbid (principal, action, resource) when { context.label.level >= 3 && context.label.integrity > 0 };
@id("text") @ask("1:owner") forbid (principal, action, resource) when { context.label.text like "*c0*" } unless { context.approval.owner >= 1 };`}}
	e := engine(t, s)
	args := map[string]any{
		"schema": "bool", "bits": int64(2), "value": "true", "from": "secret{c0}/member", "label": "public/member", "purpose": "p", "new": "o-2",
		"sha256": "00", "bytes": int64(1), "taint": "yes",
	}
	for _, agent := range []string{"edge", "remote"} {
		for _, kind := range dataKinds {
			for _, context := range []label.Label{publicMember, publicForeign, internalMember, secretPlans, label.Unlabelled} {
				for _, with := range []map[string]any{nil, taint, args} {
					want := e.Decide(about(agent, kind, "o-1", context, label.Unlabelled, with))
					for _, l := range []label.Label{secretPlans, label.New(label.Secret, label.Signed, 3), topCeiling} {
						got := e.Decide(about(agent, kind, "o-1", context, l, with))
						if diff := cmp.Diff(want, got); diff != "" {
							t.Fatalf("%s %s from %s with %v: too high (%s) is not absent:\n%s", agent, kind, context, with, l, diff)
						}
					}
				}
			}
		}
	}
	if d := e.Decide(about("edge", action.DataRead, "o-1", publicMember, secretPlans, nil)); strings.Contains(d.Because, "plans") {
		t.Errorf("the sentence tells the label: %s", d.Because)
	}
}

func TestMailboxes(t *testing.T) {
	e := engine(t, house())
	send := func(agent, to string, context label.Label) record.Question {
		q := ask(agent, action.MessageSend, to, context, map[string]any{"recipient": "x"})
		q.Snapshot.Ceiling = topCeiling
		return q
	}
	for name, tt := range map[string]decided{
		"down":                     {send("core", "post/edge/core", internalMember), record.Allow, "allow.outward", ""},
		"down, too high":           {send("core", "post/edge/core", secretPlans), record.Deny, "R3c", "may receive only internal (organisation.channels[0])"},
		"down, not trusted enough": {send("core", "post/edge/core", internalForeign), record.Deny, "R3a", ""},
		"up, from foreign":         {send("edge", "post/core/edge", internalForeign), record.Allow, "allow.outward", ""},
		"another's mailbox":        {send("edge", "post/edge/core", publicMember), record.Deny, "default", "context.sink.listed"},
		"another's, internal":      {send("edge", "post/edge/core", internalMember), record.Deny, "R3c", "listed for other agents"},
		"a wider sink":             {send("edge", "post/else", publicMember), record.Allow, "allow.outward", ""},
	} {
		t.Run(name, func(t *testing.T) { tt.check(t, e) })
	}
	if d := e.Decide(send("core", "post/edge/core", internalMember)); d.ResultLabel != internalMember {
		t.Errorf("a receipt of ours makes the context %s", d.ResultLabel)
	}
	s := house()
	for i := range s.Sinks {
		s.Sinks[i].Endorsed = s.Sinks[i].Floor > 0 // R3a out of the way
	}
	decided{send("core", "post/edge/core", internalForeign), record.Deny, "R5", "takes only what is of integrity member"}.check(t, engine(t, s))
}

func TestChildren(t *testing.T) {
	e := engine(t, house())
	spawn := func(agent, child string, context label.Label, l, ceiling string, more map[string]any) record.Question {
		args := map[string]any{"context": "y", "label": l, "ceiling": ceiling}
		maps.Copy(args, more)
		return about(agent, action.AgentSpawn, child, context, label.Bottom, args)
	}
	for name, tt := range map[string]decided{
		"child":                  {spawn("core", "edge", internalMember, "internal/member", "internal/foreign", nil), record.Allow, "allow.spawn", ""},
		"born higher":            {spawn("core", "core", internalMember, "secret{plans}/member", "secret{plans}/foreign", nil), record.Allow, "allow.spawn", ""},
		"born lower":             {spawn("core", "edge", internalMember, "public/member", "internal/foreign", nil), record.Deny, "R6", "below its parent's internal/member"},
		"born more trusted":      {spawn("core", "edge", internalForeign, "internal/member", "internal/foreign", nil), record.Deny, "R6", "below its parent's"},
		"secrets to an edge":     {spawn("core", "edge", secretPlans, "secret{plans}/member", "secret{plans}/foreign", nil), record.Deny, "R6", "above agent \"edge\"'s"},
		"above its own ceiling":  {spawn("core", "core", internalMember, "secret/member", "internal/foreign", nil), record.Deny, "R6", "above its ceiling"},
		"not its own child":      {spawn("core", "remote", internalMember, "internal/member", "internal/foreign", nil), record.Deny, "R6", "may not spawn \"remote\"; it may spawn core, edge"},
		"an edge spawns nobody":  {spawn("edge", "edge", publicMember, "public/member", "internal/foreign", nil), record.Deny, "R6", "it may spawn nobody"},
		"unknown child":          {spawn("core", "eve", internalMember, "internal/member", "internal/foreign", nil), record.Deny, "R6", "not configured"},
		"an instruction":         {spawn("core", "edge", internalMember, "internal/member", "internal/foreign", map[string]any{"instruction": "i1"}), record.Deny, "R6", "only the operator"},
		"bits of its own":        {spawn("core", "edge", internalMember, "internal/member", "internal/foreign", map[string]any{"bits": int64(4), "parent": "c"}), record.Allow, "allow.spawn", ""},
		"more bits than it has":  {spawn("core", "edge", internalMember, "internal/member", "internal/foreign", map[string]any{"bits": int64(5), "parent": "c"}), record.Deny, "R6", "4 left"},
		"bits of nothing":        {spawn("core", "edge", internalMember, "internal/member", "internal/foreign", map[string]any{"bits": int64(1)}), record.Deny, "R6", "the context that spawns it"},
		"another's bits":         {spawn("core", "edge", internalMember, "internal/member", "internal/foreign", map[string]any{"bits": int64(1), "parent": "d"}), record.Deny, "R6", ""},
		"negative bits":          {spawn("core", "edge", internalMember, "internal/member", "internal/foreign", map[string]any{"bits": int64(-1), "parent": "c"}), record.Deny, "R6", "no number"},
		"operator":               {spawn("", "remote", label.Bottom, "public/member", "secret{plans}/foreign", map[string]any{"bits": int64(16)}), record.Allow, "allow.operator", ""},
		"operator, above model":  {spawn("", "remote", label.Bottom, "internal/member", "secret{plans}/foreign", nil), record.Deny, "R6", "model endpoint may receive only public"},
		"operator, above ceil":   {spawn("", "edge", label.Bottom, "public/member", "secret/foreign", nil), record.Deny, "R6", "above agent \"edge\"'s"},
		"operator, above clear":  {spawn("", "low", label.Bottom, "internal/member", "public/foreign", nil), record.Deny, "R6", "above its ceiling"},
		"operator, instructions": {spawn("", "core", label.Bottom, "public/signed", "secret{plans}/foreign", map[string]any{"instruction": "i1"}), record.Allow, "allow.operator", ""},
	} {
		t.Run(name, func(t *testing.T) { tt.check(t, e) })
	}
}

func TestExtractions(t *testing.T) {
	e := engine(t, house())
	extract := func(agent, schema, value string, bits int64, item label.Label) record.Question {
		return about(agent, action.DataExtract, "o-1", publicMember, item, map[string]any{"schema": schema, "value": value, "bits": bits})
	}
	for name, tt := range map[string]decided{
		"yes or no":       {extract("core", "bool", "true", 2, publicForeign), record.Allow, "allow.data", ""},
		"no answer":       {extract("core", "bool", NoAnswer, 2, publicForeign), record.Allow, "allow.data", ""},
		"a choice":        {extract("core", "enum:buy,sell", "sell", 2, publicForeign), record.Allow, "allow.data", ""},
		"another answer":  {extract("core", "enum:buy,sell", "wire it all", 2, publicForeign), record.Deny, "R7", "none of the schema's answers"},
		"undercharged":    {extract("core", "int:1..10", "7", 3, publicForeign), record.Deny, "R7", "carries 4 bits"},
		"over budget":     {extract("core", "int:1..100", "7", 7, publicForeign), record.Deny, "R7", "has 4 left"},
		"no schema":       {extract("core", "text", "x", 4, publicForeign), record.Deny, "R7", "cannot be used"},
		"too high":        {extract("edge", "bool", "true", 2, secretPlans), record.Deny, "R1", ""},
		"above the model": {extract("remote", "bool", "true", 2, secretPlans), record.Deny, "R1", ""},
	} {
		t.Run(name, func(t *testing.T) { tt.check(t, e) })
	}
	if d := e.Decide(extract("core", "bool", "true", 2, topCeiling)); d.ResultLabel != secretPlans {
		t.Errorf("an answer out of %s is %s, want %s", topCeiling, d.ResultLabel, secretPlans)
	}
	if d := e.Decide(extract("core", "bool", "true", 2, label.Bottom)); d.ResultLabel.Integrity != label.Member {
		t.Errorf("an answer of a model is %s", d.ResultLabel)
	}
}

// lowering is a request that names everything.
func lowering(agent string, context, from label.Label, to string) record.Question {
	return about(agent, action.DataLower, "o-1", context, from, map[string]any{"from": from.String(), "label": to, "purpose": "the press", "new": "o-2"})
}

func signedBy(people map[string]int) func(*record.Question) {
	return func(q *record.Question) { q.Approvals = people }
}

func TestLowering(t *testing.T) {
	e := engine(t, house())
	without := func(arg string, v any) record.Question {
		return changed(lowering("core", publicMember, secretPlans, "public/member"), func(q *record.Question) { q.Action.Args[arg] = v })
	}
	standing := record.Grant{ID: "g1", Agent: "core", Kind: action.DataLower, Target: "*", Expires: noon.Add(time.Hour)}
	for name, tt := range map[string]decided{
		"asks one owner":          {lowering("core", publicMember, secretPlans, "public/member"), record.Ask, "R8", "signed approval"},
		"signed":                  {changed(lowering("core", publicMember, secretPlans, "public/member"), signedBy(map[string]int{"owner": 1})), record.Allow, "allow.lower", ""},
		"foreign asks one more":   {changed(lowering("core", publicForeign, secretPlans, "public/member"), signedBy(map[string]int{"owner": 1})), record.Ask, "R8.foreign", "one more"},
		"foreign, two":            {changed(lowering("core", publicForeign, secretPlans, "public/member"), signedBy(map[string]int{"owner": 2})), record.Allow, "allow.lower", ""},
		"operator":                {lowering("", label.Bottom, secretPlans, "public/member"), record.Ask, "R8", ""},
		"to signed by operator":   {lowering("", label.Bottom, secretPlans, "public/signed"), record.Ask, "R8", ""},
		"to signed by an agent":   {lowering("core", publicMember, secretPlans, "public/signed"), record.Deny, "R8.exact", "signed instructions alone"},
		"from another label":      {without("from", "public/member"), record.Deny, "R8.exact", "is not labelled public/member"},
		"no version":              {without("version", int64(0)), record.Deny, "R8.exact", "names its item"},
		"no purpose":              {without("purpose", ""), record.Deny, "R8.exact", ""},
		"no new name":             {without("new", ""), record.Deny, "R8.exact", ""},
		"onto itself":             {without("new", "o-1"), record.Deny, "R8.exact", ""},
		"another target":          {without("item", "o-3"), record.Deny, "R8.exact", ""},
		"no label":                {without("label", "low"), record.Deny, "R8.exact", "cannot be read"},
		"what it may not read":    {lowering("edge", publicMember, secretPlans, "public/member"), record.Deny, "R1", ""},
		"a standing grant":        {changed(lowering("core", publicMember, secretPlans, "public/member"), func(q *record.Question) { q.Snapshot.Grants = []record.Grant{standing} }), record.Ask, "R8", ""},
		"erase needs both groups": {changed(about("", action.DataErase, "o-1", label.Bottom, secretPlans, nil), signedBy(map[string]int{"owner": 5})), record.Ask, "quorum.2", ""},
		"erase signed by both":    {changed(about("", action.DataErase, "o-1", label.Bottom, secretPlans, nil), signedBy(map[string]int{"owner": 1, "legal": 1})), record.Allow, "allow.operator", ""},
	} {
		t.Run(name, func(t *testing.T) { tt.check(t, e) })
	}
	if d := e.Decide(changed(lowering("core", publicForeign, secretPlans, "public/member"), signedBy(map[string]int{"owner": 2}))); d.ResultLabel != publicForeign {
		t.Errorf("asking for an item raised the context to %s", d.ResultLabel)
	}
}

func TestQuorums(t *testing.T) {
	s := house()
	s.Quorums = append(s.Quorums, Quorum{Kinds: []action.Kind{action.DataLower}, Needs: []record.Need{{Count: 2, Group: "owner"}, {Count: 99, Group: "legal"}}})
	e := engine(t, s)
	for context, want := range map[label.Label][]record.Need{
		publicMember:  {{Count: 2, Group: "owner"}, {Count: 99, Group: "legal"}},
		publicForeign: {{Count: 3, Group: "owner"}, {Count: 100, Group: "legal"}}, // more than anybody has: still an ask
	} {
		d := e.Decide(lowering("core", context, secretPlans, "public/member"))
		if diff := cmp.Diff(want, d.Needs); d.Verdict != record.Ask || diff != "" {
			t.Errorf("from %s: %v (-want +got):\n%s", context, d.Verdict, diff)
		}
	}
	for name, q := range map[string]Quorum{
		"no kind": {Needs: oneOwner}, "nobody": {Kinds: signed}, "no group": {Kinds: signed, Needs: []record.Need{{Count: 1, Group: "cia"}}},
		"too many": {Kinds: signed, Needs: []record.Need{{Count: 100, Group: "owner"}}}, "none": {Kinds: signed, Needs: []record.Need{{Group: "owner"}}},
		"a type of no instruction": {Kinds: []action.Kind{action.DataLower}, Type: "x", Needs: oneOwner}, "no capability": {Kinds: []action.Kind{"fly"}, Needs: oneOwner},
	} {
		s.Quorums = []Quorum{q}
		if _, err := New(s); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestInstructions(t *testing.T) {
	e := engine(t, house())
	instruct := func(to, kind, l, clearance string) record.Question {
		return about("", action.AgentInstruct, to, label.Bottom, label.Bottom, map[string]any{"text": "go", "id": "i1", "type": kind, "label": l, "clearance": clearance})
	}
	task := instruct("core", "task", "internal/signed", "secret{plans}")
	untold := instruct("core", "task", "internal/signed", "secret{plans}")
	untold.Action.Args["text"] = ""
	for name, tt := range map[string]decided{
		"asks the owner":          {task, record.Ask, "instruct.owner", ""},
		"signed":                  {changed(task, approved), record.Allow, "allow.operator", ""},
		"payment asks finance":    {changed(instruct("core", "payment", "internal/signed", "secret{plans}"), approved), record.Ask, "quorum.1", ""},
		"payment, signed":         {changed(instruct("core", "payment", "internal/signed", "secret{plans}"), signedBy(map[string]int{"finance": 2})), record.Allow, "allow.operator", ""},
		"finance signs no task":   {changed(task, signedBy(map[string]int{"finance": 9})), record.Ask, "instruct.owner", ""},
		"an edge takes none":      {instruct("edge", "task", "public/signed", "internal"), record.Deny, "instruct", "takes instructions: core"},
		"nobody":                  {instruct("eve", "task", "public/signed", "internal"), record.Deny, "instruct", ""},
		"above the clearance":     {instruct("core", "task", "secret/signed", "internal"), record.Deny, "instruct", "choose a higher clearance"},
		"above the agent":         {instruct("core", "task", "internal/signed", "secret{c7}"), record.Deny, "instruct", "above agent \"core\"'s ceiling"},
		"no label":                {instruct("core", "task", "", "internal"), record.Deny, "instruct", "cannot be read"},
		"no text":                 {untold, record.Deny, "instruct", "has a text"},
		"an agent instructs none": {changed(task, func(q *record.Question) { q.Action.Agent, q.Action.Principal = "core", principal.ForAgent("core") }), record.Deny, "default", ""},
	} {
		t.Run(name, func(t *testing.T) { tt.check(t, e) })
	}
}
