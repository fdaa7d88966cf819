package policy

import (
	"fmt"
	"maps"
	"slices"

	"sallyport/internal/action"
)

// maxPeople bounds the people of one group that a quorum may ask for: one more
// may be needed (rule R8), and an ask names at most 100.
const maxPeople = 99

// checkOrganisation looks at who may spawn, instruct and sign what.
func (s *Settings) checkOrganisation() error {
	known := func(what, name string) error {
		if _, ok := s.Agents[name]; !ok {
			return fmt.Errorf("policy: settings: %s: there is no agent %q", what, name)
		}
		return nil
	}
	for _, name := range slices.Sorted(maps.Keys(s.Agents)) {
		for _, child := range s.Agents[name].Spawns {
			if err := known(fmt.Sprintf("agent %q: spawns", name), child); err != nil {
				return err
			}
		}
	}
	for _, name := range s.Instructable {
		if err := known("instructable", name); err != nil {
			return err
		}
	}
	for i := range s.Quorums {
		if err := s.Quorums[i].check(s.Groups); err != nil {
			return fmt.Errorf("policy: settings: quorum %d (%s): %w", i+1, s.Quorums[i].Origin, err)
		}
	}
	return s.Scheme.Check()
}

func (q *Quorum) check(groups []string) error {
	if len(q.Kinds) == 0 || len(q.Needs) == 0 {
		return fmt.Errorf("it names no kind of action or nobody who must sign")
	}
	for _, k := range q.Kinds {
		if _, ok := action.RowOf(k); !ok {
			return fmt.Errorf("%q is not a capability", k)
		}
		if q.Type != "" && k != action.AgentInstruct {
			return fmt.Errorf("only %s has types, %s has none", action.AgentInstruct, k)
		}
	}
	for _, n := range q.Needs {
		if n.Count < 1 || n.Count > maxPeople {
			return fmt.Errorf("%d people of %s: use 1 to %d", n.Count, n.Group, maxPeople)
		}
		if n.Group != ownerGroup && !slices.Contains(groups, n.Group) {
			return fmt.Errorf("there is no group %q", n.Group)
		}
	}
	return nil
}
