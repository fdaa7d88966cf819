package selftest

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"sallyport/internal/sandbox"
)

// Case is one kind of attack.
type Case struct {
	Number    int    // stable, 1 to 54
	Name      string // short, unique
	Attack    string // what is tried, one clause
	Mechanism string // what stops it
	Probes    []Probe
}

// Probe is one way to try a case.
type Probe struct {
	Name string // unique among all probes
	Want string // errnos or outcomes that may end it inside, in any tier, separated by |
	// Absent says why nothing can be tried: the thing attacked does not exist
	// here. Such a probe has no control and counts as absent, not as held.
	Absent string
}

// The ways a result can be read.
const (
	Holds       = "holds"        // worked outside, was stopped inside as expected
	Fails       = "FAILS"        // worked inside, or was stopped by something unexpected
	NotPromised = "not promised" // worked inside, as this tier says of itself
	NotShown    = "not shown"    // did not work outside, so nothing is shown
	Absent      = "absent"       // there is nothing to attack
)

// Succeeded is the Control or Inside of a probe that did what it tried.
const Succeeded = "succeeded"

// Result is what one probe showed.
type Result struct {
	Case    int
	Probe   string
	Control string // Succeeded, "blocked:ERRNO" or "skipped:why", outside any sandbox
	Inside  string // the same, inside; empty when it was not run
	Want    string // what was expected inside
	Holds   bool   // the control succeeded and inside it was stopped as expected
	Verdict string // Holds, Fails, NotPromised, NotShown or Absent
	Detail  string // one sentence, may be empty
}

// Summary counts the results by verdict.
type Summary struct {
	Tier                                        sandbox.Tier
	Holds, Fails, NotPromised, NotShown, Absent int
	Unmet                                       []string // probes of Misses that did not succeed: the list is wrong
}

// OK reports whether nothing succeeded but what the tier says it cannot stop.
func (s Summary) OK() bool { return s.Fails == 0 && s.Holds > 0 }

// String is one line.
func (s Summary) String() string {
	return fmt.Sprintf("tier %s: %d probes hold, %d fail, %d not promised, %d not shown, %d absent", s.Tier, s.Holds, s.Fails, s.NotPromised, s.NotShown, s.Absent)
}

// Options says what to test.
type Options struct {
	Tier    sandbox.Tier // the tier to test; TierNone means the best this machine has
	Dir     string       // scratch directory, must exist; empty: one of its own below /var/tmp
	Program string       // an executable that calls MaybeInit and MaybeProbe first; empty: this one
	// Extra adds to a case what lies outside this room: the connections that
	// egress makes, the commit of changes. It is called once, after the case's
	// own probes, and may leave Case and Want empty.
	Extra map[int]func(context.Context) Result
}

// Miss is a probe that is expected to succeed inside, with the sentence that
// says so beforehand.
type Miss struct {
	Probe string
	Why   string
	May   bool // it depends on the machine; no fault when it does not succeed
}

// Misses lists what a sandbox of this tier is known not to stop: none in the
// full tier. memoryBounded and ownUser tell what Misses cannot know itself:
// whether a memory cgroup could be made, and whether the payload has a user of
// its own, which it has when the supervisor is root.
func Misses(tier sandbox.Tier, memoryBounded, ownUser bool) []Miss {
	var out []Miss
	if !memoryBounded {
		out = append(out, Miss{Probe: "shared-memory-bomb", Why: "memory of the whole sandbox is not bounded: no memory cgroup could be made"})
	}
	if tier != sandbox.TierLandlock {
		return out
	}
	out = append(out,
		Miss{Probe: "proc-cmdline", Why: "command lines of host processes are readable: there is no PID namespace"},
		Miss{Probe: "stat-outside", Why: "names, sizes and times of host files are visible: Landlock covers opening only"},
	)
	if !ownUser {
		return append(out,
			Miss{Probe: "proc-keys", Why: "what /proc says of the user's keys is readable: there is no fresh one", May: true},
			Miss{Probe: "chmod-outside", Why: "modes of the user's own files can be changed: Landlock does not cover them"})
	}
	const why = "protected paths cannot be held inside a writable directory: that takes mounts, and root's payload cannot reach a private copy"
	for _, name := range []string{"write-hook", "append-git-config", "rename-git", "replace-git-config", "absent-dotfile"} {
		out = append(out, Miss{Probe: name, Why: why})
	}
	return out
}

// judge reads one result.
func judge(p Probe, r *Result, misses []Miss) {
	at := slices.IndexFunc(misses, func(m Miss) bool { return m.Probe == p.Name })
	outcome, _, _ := strings.Cut(strings.TrimPrefix(r.Inside, "blocked:"), " ")
	stopped := strings.HasPrefix(r.Inside, "blocked:")
	switch {
	case p.Absent != "":
		r.Verdict, r.Detail = Absent, p.Absent
	case r.Inside == Succeeded && at >= 0:
		r.Verdict, r.Detail = NotPromised, misses[at].Why
	case r.Inside == Succeeded:
		r.Verdict, r.Detail = Fails, "the attack works inside the sandbox"
	case r.Control != Succeeded:
		r.Verdict, r.Detail = NotShown, "the attack does not work outside either, so its failure inside shows nothing"
	case !stopped:
		r.Verdict, r.Detail = NotShown, "the attack could not be tried inside"
	case !slices.Contains(strings.Split(p.Want, "|"), outcome):
		r.Verdict, r.Detail = Fails, "it was stopped, but not by what should have stopped it"
	default:
		r.Verdict, r.Holds = Holds, true
	}
}

// add counts r.
func (s *Summary) add(r Result) {
	switch r.Verdict {
	case Holds:
		s.Holds++
	case NotPromised:
		s.NotPromised++
	case NotShown:
		s.NotShown++
	case Absent:
		s.Absent++
	default:
		s.Fails++
	}
}

// WriteTable prints the results with their cases, one line a probe.
func WriteTable(w io.Writer, results []Result) error {
	byNumber := map[int]Case{}
	for _, c := range Cases() {
		byNumber[c.Number] = c
	}
	tw := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(tw, "CASE\tATTACK\tPROBE\tMECHANISM\tOUTSIDE\tINSIDE\tVERDICT")
	for _, r := range results {
		c := byNumber[r.Case]
		inside := r.Inside
		if inside == "" {
			inside = "-"
		}
		fmt.Fprintf(tw, "%d\t%s\t%s\t%s\t%s\t%s\t%s\n", r.Case, c.Name, r.Probe, c.Mechanism, r.Control, inside, r.Verdict)
	}
	return tw.Flush()
}
