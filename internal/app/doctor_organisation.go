package app

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"

	"sallyport/internal/approval"
	"sallyport/internal/config"
	"sallyport/internal/record"
)

// checkOrganisation says who stands above whom, and whether there are people
// enough for what the organisation wants signed. It has no lines where nothing
// is organised.
func (a *App) checkOrganisation(ctx context.Context) []Check {
	org := a.Config.Organisation
	var out []Check
	if len(org.Tiers) > 0 {
		names := make([]string, len(org.Tiers))
		for i, t := range org.Tiers {
			names[i] = t.Name + " (" + strings.Join(t.Agents, ", ") + ")"
		}
		out = append(out, Check{
			Area: "organisation", Name: "tiers", State: CheckOK,
			Detail: fmt.Sprintf("%s; %d channels", strings.Join(names, " over "), len(org.Channels)),
		})
	}
	for _, name := range slices.Sorted(maps.Keys(a.Config.Folders)) {
		out = append(out, a.checkFolder(name))
	}
	return append(out, a.checkAgencies(ctx)...)
}

// checkFolder looks whether a labelled folder is there.
func (a *App) checkFolder(name string) Check {
	f := a.Config.Folders[name]
	c := Check{Area: "folders", Name: name, State: CheckOK, Detail: f.Path + " is " + a.ShowLabel(f.Label)}
	if info, err := os.Stat(f.Path); err != nil || !info.IsDir() {
		c.State, c.Detail, c.Remedy = CheckWarn, f.Path+" is no directory that this user can see", "make it, or correct folders."+name+".path"
	}
	return c
}

// checkAgencies compares what must be signed with who may sign.
func (a *App) checkAgencies(ctx context.Context) []Check {
	agencies := a.Config.Organisation.Agencies
	if len(agencies) == 0 {
		return nil
	}
	if _, err := os.Stat(a.Paths.Database); errors.Is(err, fs.ErrNotExist) {
		return []Check{{Area: "organisation", Name: "signatures", State: CheckSkip, Detail: "nobody is trusted yet", Remedy: "sallyport trust add-person NAME --key KEY.pub --group GROUP"}}
	}
	src, _, err := a.trusted(ctx)
	var people *approval.Roster
	if err == nil {
		people, err = src.roster(ctx)
	}
	if err != nil {
		return []Check{{Area: "organisation", Name: "signatures", State: CheckFail, Detail: sentence(err), Remedy: "sallyport trust verify"}}
	}
	out := make([]Check, 0, len(agencies))
	for i, ag := range agencies {
		out = append(out, checkAgency(ag, fmt.Sprintf("organisation.agencies[%d]", i), people.Trust()))
	}
	return out
}

// checkAgency counts people. Who asks does not sign where two or more must, so
// the owner who asks is not counted then.
func checkAgency(ag config.Agency, origin string, t approval.Trust) Check {
	what := strings.Join(ag.Kinds, ", ")
	if ag.Type != "" {
		what += " of type " + ag.Type
	}
	c := Check{Area: "organisation", Name: "signatures", State: CheckOK, Detail: what + ": " + strings.Join(ag.Sign, " and ")}
	q, err := quorumOf(ag, origin)
	if err != nil {
		c.State, c.Detail = CheckFail, sentence(err)
		return c
	}
	all := 0
	for _, n := range q.Needs {
		all += n.Count
	}
	slices.SortStableFunc(q.Needs, func(x, y record.Need) int { return spare(t, x) - spare(t, y) }) // the scarcest first
	n := q.Needs[0]
	need := max(n.Count, t.Threshold(n.Group))
	switch have := membersOf(t, n.Group); {
	case have < need:
		c.State, c.Detail = CheckWarn, fmt.Sprintf("%s needs %d of %s, and the trust file has %d: nobody can permit it", what, need, n.Group, have)
	case all > 1 && have == need && n.Group == approval.OwnerGroup:
		c.State, c.Detail = CheckWarn, fmt.Sprintf("%s needs %d of %s besides who asks, and the trust file has %d: an owner who asks cannot get it", what, need, n.Group, have)
	default:
		return c
	}
	c.Remedy = "sallyport trust add-person NAME --key KEY.pub --group " + n.Group
	return c
}

// spare counts the people of a group beyond those that a need asks for.
func spare(t approval.Trust, n record.Need) int {
	return membersOf(t, n.Group) - max(n.Count, t.Threshold(n.Group))
}

func membersOf(t approval.Trust, group string) int {
	have := 0
	for i := range t.People {
		if slices.Contains(t.People[i].Groups, group) {
			have++
		}
	}
	return have
}
