package vault

// Replacement says what stands in the place of a setting that older programs
// read from the environment or an .env file.
type Replacement struct {
	Setting string // its name
	Answer  string // one sentence: what replaces it and what to do with it
}

// replacements: both settings guarded stored data by a string in a file beside
// the program.
var replacements = []Replacement{
	{"SECRET_KEY", "SECRET_KEY is not used: no shared secret signs people's logins here, people sign what they approve with their own SSH keys, and stored data is sealed under the vault's root key; remove it from the environment and from .env"},
	{"SALT_VALUE", "SALT_VALUE is not used: keys are random instead of derived from agents' names, and a passphrase's salt is random and kept beside the key it seals; remove it from the environment and from .env"},
}

// Replacements recognises SECRET_KEY and SALT_VALUE and tells what replaces those
// that are set; lookup reads the environment or an .env file. Their values are
// neither used nor repeated.
func Replacements(lookup func(name string) (string, bool)) []Replacement {
	var out []Replacement
	for _, r := range replacements {
		if _, ok := lookup(r.Setting); ok {
			out = append(out, r)
		}
	}
	return out
}
