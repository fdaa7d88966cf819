package policy

import (
	"fmt"
	"slices"
	"strings"

	"sallyport/internal/action"
	"sallyport/internal/record"
)

// ownerGroup is the group that exists without being configured.
const ownerGroup = "owner"

// oneOwner is who must sign where no quorum says otherwise.
var oneOwner = []record.Need{{Count: 1, Group: ownerGroup}}

// signed are the kinds that people sign one by one: a standing grant, which
// covers many, never answers for them.
var signed = []action.Kind{action.DataLower, action.DataErase, action.AgentInstruct}

// quorums turns who must sign what into rules that ask: those of the settings,
// and one owner for what needs a signature and nobody named.
func (s *Settings) quorums() []generated {
	var out []generated
	var types []string
	unnamed := slices.Clone(signed)
	for i, q := range s.Quorums {
		kinds := slices.Compact(slices.Sorted(slices.Values(q.Kinds)))
		when := ""
		if q.Type != "" {
			types = append(types, cedarString(q.Type))
			when = " when { context.args has type && context.args.type == " + cedarString(q.Type) + " }"
		} else {
			unnamed = slices.DeleteFunc(unnamed, func(k action.Kind) bool { return slices.Contains(kinds, k) })
		}
		out = append(out, asking(fmt.Sprintf("quorum.%d", i+1), q.Origin, "who must sign it is configured", q.Needs, kinds, when)...)
	}
	for _, k := range unnamed {
		switch k {
		case action.AgentInstruct:
			when := ""
			if len(types) > 0 {
				when = " unless { context.args has type && [" + strings.Join(types, ", ") + "].contains(context.args.type) }"
			}
			out = append(out, asking("instruct.owner", "built in", "an instruction needs the owner's signature", oneOwner, []action.Kind{k}, when)...)
		case action.DataErase:
			out = append(out, asking("erase.owner", "built in", "erasing data needs the owner's signature", oneOwner, []action.Kind{k}, "")...)
		default:
			out = append(out, asking("R8", "built in: R8", "lowering data needs a signed approval", oneOwner, []action.Kind{k}, "")...)
		}
	}
	return out
}

// asking gives the rule that asks for so many people and, where it covers
// data.lower, the one that asks for one more of each group when a context that
// read foreign text is behind it (R8).
func asking(id, origin, because string, needs []record.Need, kinds []action.Kind, when string) []generated {
	if origin == "" {
		origin = "quorums"
	}
	rule := func(id, because string, more int, kinds []action.Kind, when string) generated {
		asks, holds := make([]string, len(needs)), make([]string, len(needs))
		for i, n := range needs {
			asks[i] = fmt.Sprintf("%d:%s", n.Count+more, n.Group)
			holds[i] = fmt.Sprintf("context.approval.%s >= %d", n.Group, n.Count+more)
		}
		return generated{
			id: id, origin: origin, because: because, ask: strings.Join(asks, ","),
			head: scope("forbid", "principal", kinds...) + when + " unless { " + strings.Join(holds, " && ") + " };",
		}
	}
	out := []generated{rule(id, because, 0, kinds, when)}
	if slices.Contains(kinds, action.DataLower) {
		out = append(out, rule(id+".foreign", "foreign text may be behind this request, so one more of each group must sign it", 1,
			[]action.Kind{action.DataLower}, " when { !context.flow.trusted }"))
	}
	return out
}
