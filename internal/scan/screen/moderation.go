package screen

import (
	"maps"
	"slices"

	"sallyport/internal/record"
	"sallyport/internal/scan"
)

// DefaultThreshold is from where a category counts that has no threshold.
const DefaultThreshold = 0.5

// AnyCategory is the key of the threshold for categories that are not named.
const AnyCategory = "*"

// FromModeration gives the verdict of a moderator's scores: each category whose
// score reaches its threshold leads to action (Pass stands for Block). A score
// that is no number counts. A category's name comes from outside: one that is
// no plain word is shown as "other".
func FromModeration(categories, thresholds map[string]float64, action Action) Verdict {
	if action == Pass {
		action = Block
	}
	var v Verdict
	for _, name := range slices.Sorted(maps.Keys(categories)) {
		score := categories[name]
		limit, ok := thresholds[name]
		if !ok {
			if limit, ok = thresholds[AnyCategory]; !ok {
				limit = DefaultThreshold
			}
		}
		if score < limit {
			continue
		}
		if !plainName(name) {
			name = "other"
		}
		f := record.Finding{Rule: SourceModeration + "." + name, Severity: scan.Medium, Confidence: 1}
		if action >= Block {
			f.Severity = scan.High
		}
		if score >= 0 && score <= 1 { // else it is no number that belongs there
			f.Confidence = score
		}
		v.add(Hit{SourceModeration, action, f.Rule, "the moderator's category " + name}, &f)
	}
	return v.done()
}

// ModerationFailed gives the verdict of a text that the moderator did not
// judge. Pass stands for Ask, which is a denial where nobody answers.
func ModerationFailed(action Action) Verdict {
	if action == Pass {
		action = Ask
	}
	var v Verdict
	v.add(Hit{SourceModeration, action, SourceModeration + ".unavailable", "the moderator did not judge this text"}, nil)
	return v.done()
}

func plainName(name string) bool {
	for i := range len(name) {
		if c := name[i]; c-'a' >= 26 && c-'0' >= 10 && c != '-' && c != '_' && c != '/' {
			return false
		}
	}
	return name != "" && len(name) <= 48
}
