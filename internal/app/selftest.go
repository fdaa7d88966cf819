package app

import (
	"context"
	"slices"

	"sallyport/internal/sandbox"
	"sallyport/internal/sandbox/selftest"
)

// SelftestRow is what one attack on this machine's sandbox showed.
type SelftestRow struct {
	Case      int    `json:"case"`
	Attack    string `json:"attack"`
	Tried     string `json:"tried"` // what is tried, one clause
	Probe     string `json:"probe"`
	Mechanism string `json:"mechanism"`
	Outside   string `json:"outside"` // of the control run: succeeded, or why not
	Inside    string `json:"inside"`
	Want      string `json:"want"`
	Verdict   string `json:"verdict"`
	Detail    string `json:"detail,omitempty"`
}

// SelftestResult is what all attacks showed.
type SelftestResult struct {
	Tier        string        `json:"tier"`
	Root        bool          `json:"root"` // made by root: sessions get a user of their own
	OK          bool          `json:"ok"`   // nothing succeeded but what the tier says it does not stop
	Holds       int           `json:"holds"`
	Fails       int           `json:"fails"`
	NotPromised int           `json:"not_promised"`
	NotShown    int           `json:"not_shown"`
	Absent      int           `json:"absent"`
	Unmet       []string      `json:"unmet"` // listed as not promised, and yet stopped
	Rows        []SelftestRow `json:"rows"`
}

// Selftest makes the known attacks against this machine's sandbox, the best
// tier there is or the one named (full or landlock), each first outside it.
func Selftest(ctx context.Context, tier string, root bool) (SelftestResult, error) {
	var o selftest.Options
	switch tier {
	case sandbox.TierFull.String():
		o.Tier = sandbox.TierFull
	case sandbox.TierLandlock.String():
		o.Tier = sandbox.TierLandlock
	}
	extra, done := outsideProbes(o.Tier)
	defer done()
	o.Extra = extra
	sum, results, err := selftest.Run(ctx, o)
	if err != nil {
		return SelftestResult{}, err
	}
	out := SelftestResult{
		Tier: sum.Tier.String(), Root: root, OK: sum.OK() && len(sum.Unmet) == 0, Holds: sum.Holds, Fails: sum.Fails, NotPromised: sum.NotPromised,
		NotShown: sum.NotShown, Absent: sum.Absent, Unmet: append([]string{}, sum.Unmet...),
	}
	cases := selftest.Cases()
	for _, r := range results {
		row := SelftestRow{
			Case: r.Case, Probe: r.Probe, Outside: r.Control, Inside: r.Inside, Want: r.Want, Verdict: r.Verdict, Detail: r.Detail,
		}
		if i := slices.IndexFunc(cases, func(c selftest.Case) bool { return c.Number == r.Case }); i >= 0 {
			row.Attack, row.Tried, row.Mechanism = cases[i].Name, cases[i].Attack, cases[i].Mechanism
		}
		out.Rows = append(out.Rows, row)
	}
	return out, nil
}
