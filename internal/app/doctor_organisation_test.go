package app

import (
	"strings"
	"testing"

	"sallyport/internal/approval"
	"sallyport/internal/config"
)

// TestAgencyHasPeople: an agency that nobody can satisfy is told before
// somebody waits for it.
func TestAgencyHasPeople(t *testing.T) {
	people := func(groups ...string) approval.Trust {
		var out approval.Trust
		for _, g := range groups {
			out.People = append(out.People, approval.Person{Name: g, Groups: strings.Fields(g)})
		}
		return out
	}
	high := people("owner", "owner", "owner")
	high.Thresholds = map[string]int{"owner": 4}
	for name, tt := range map[string]struct {
		sign  []string
		trust approval.Trust
		want  CheckState
		says  string
	}{
		"one of one":           {[]string{"1:owner"}, people("owner"), CheckOK, "1:owner"},
		"two of one":           {[]string{"2:owner"}, people("owner"), CheckWarn, "has 1: nobody can permit it"},
		"two of two":           {[]string{"2:owner"}, people("owner", "owner"), CheckWarn, "besides who asks"},
		"two of three":         {[]string{"2:owner"}, people("owner", "owner", "owner finance"), CheckOK, ""},
		"a group of nobody":    {[]string{"1:finance"}, people("owner", "owner"), CheckWarn, "needs 1 of finance, and the trust file has 0"},
		"one of each":          {[]string{"1:owner", "1:finance"}, people("owner", "owner", "finance"), CheckOK, ""},
		"threshold above them": {[]string{"1:owner"}, high, CheckWarn, "needs 4 of owner"},
		"not a need":           {[]string{"owner"}, people("owner"), CheckFail, "COUNT:GROUP"},
	} {
		c := checkAgency(config.Agency{Kinds: []string{"data.lower"}, Sign: tt.sign}, "organisation.agencies[0]", tt.trust)
		if c.State != tt.want || !strings.Contains(c.Detail, tt.says) || (c.State == CheckWarn) != (c.Remedy != "") {
			t.Errorf("%s: %+v", name, c)
		}
	}
}

// TestOrganisationIsChecked: the doctor's lines exist where something is
// organised, and before anybody is trusted.
func TestOrganisationIsChecked(t *testing.T) {
	if got := installation(t, "readOnlyMode: false\n").checkOrganisation(t.Context()); len(got) != 0 {
		t.Errorf("nothing is organised: %+v", got)
	}
	a := installation(t, house)
	before := a.checkOrganisation(t.Context())
	if _, err := a.Store(t.Context()); err != nil {
		t.Fatal(err)
	}
	text := func(list []Check) string {
		var b strings.Builder
		for _, c := range list {
			b.WriteString(c.Area + " " + c.Name + " " + string(c.State) + " " + c.Detail + "\n")
		}
		return b.String()
	}
	for got, wants := range map[string][]string{
		text(before):                           {"folders hr warn /srv/hr", "organisation tiers ok core (chief) over auditor (reviewer) over edge (scout); 2 channels", "signatures skip nobody is trusted yet"},
		text(a.checkOrganisation(t.Context())): {"signatures warn agent.instruct of type payroll needs 2 of finance", "signatures warn data.lower needs 2 of owner"},
	} {
		for _, want := range wants {
			if !strings.Contains(got, want) {
				t.Errorf("lacks %q:\n%s", want, got)
			}
		}
	}
}
