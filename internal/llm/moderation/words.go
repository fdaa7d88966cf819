package moderation

// wordList is what the built-in moderator knows of a category.
type wordList struct {
	category string
	phrases  []string // one is enough
	words    []string // of the subject: two different ones are enough
}

// each puts every beginning before every end.
func each(beginnings, ends []string) []string {
	out := make([]string, 0, len(beginnings)*len(ends))
	for _, b := range beginnings {
		for _, e := range ends {
			out = append(out, b+" "+e)
		}
	}
	return out
}

var (
	asking = []string{"how to", "how do i", "how can i", "how would i", "instructions to", "instructions for how to", "steps to", "guide to", "tell me how to", "show me how to", "teach me to", "teach me how to", "explain how to", "help me"}

	illicitActs = []string{
		"make a bomb", "build a bomb", "make bombs", "build a pipe bomb", "make a pipe bomb", "make explosives", "make meth", "cook meth", "make methamphetamine", "synthesize methamphetamine", "make fentanyl",
		"make nerve gas", "make sarin", "make a nerve agent", "make napalm", "make ricin", "make counterfeit money", "counterfeit money", "launder money", "hire a hitman", "steal a car", "hotwire a car", "pick pockets",
		"buy a stolen credit card", "steal credit cards", "steal someone's identity", "make ransomware", "write ransomware", "get away with murder", "poison someone", "rob a bank", "make a ghost gun", "smuggle drugs", "forge a passport",
	}
	groups = []string{"jews", "muslims", "christians", "hindus", "blacks", "black people", "whites", "white people", "asians", "arabs", "immigrants", "refugees", "gays", "gay people", "lesbians", "trans people", "disabled people", "women", "gypsies"}
	minors = []string{"child", "children", "minor", "minors", "toddler", "toddlers", "preteen", "preteens", "schoolgirl", "schoolboy", "little girl", "little boy", "underage girl", "underage boy", "underage girls", "underage boys"}
)

// lists gives the lists. Their words are this project's own choice.
func lists() []wordList {
	return []wordList{
		{
			"self-harm",
			[]string{
				"kill myself", "killing myself", "end my life", "ending my life", "take my own life", "want to die", "wanna die", "hurt myself", "cut myself on purpose", "cutting myself", "starve myself", "hang myself",
				"suicide note", "painless suicide", "ways to commit suicide", "how to commit suicide", "methods of suicide", "kill yourself", "better off dead", "no reason to live", "do not want to live anymore", "don't want to live anymore",
			},
			[]string{"suicide", "suicidal", "self-harm", "self harm", "self-injury", "overdose", "noose"},
		},
		{
			"violence",
			append(each([]string{"i will", "i'll", "i am going to", "i'm going to", "we will", "gonna"}, []string{
				"kill you", "kill him", "kill her", "kill them", "kill them all", "shoot you", "stab you", "stab him", "stab her", "beat you to death", "burn your house down", "slit your throat", "break your legs", "hurt your family", "kill your family",
			}), "shoot up the school", "shoot up a school", "shoot up the office", "beat him to death", "beat her to death", "slit his throat", "slit her throat", "deserve to be killed", "deserves to be killed", "should be beheaded"),
			[]string{"massacre", "behead", "beheading", "dismember", "dismembered", "disembowel", "slaughtered", "mass shooting", "bloodbath"},
		},
		{
			"hate",
			append(append(each([]string{"kill all", "kill all the", "exterminate", "exterminate all", "gas the", "gas all", "i hate all", "death to", "death to all", "deport all", "get rid of all", "wipe out the", "wipe out all"}, groups),
				each(groups, []string{"are subhuman", "are vermin", "are animals", "are parasites", "are inferior", "should be exterminated", "should all die", "do not deserve to live", "don't deserve to live", "are a disease"})...),
				"racial purity", "white genocide", "master race"),
			[]string{"subhuman", "untermensch", "race traitor", "mud people", "racial inferiority", "ethnic cleansing"},
		},
		{
			"sexual/minors",
			append(append(each([]string{"sex with a", "sex with", "nude", "naked", "erotic", "sexual", "sexy", "porn of", "pornography of", "nudes of a", "nudes of", "undress a", "sexually explicit"}, minors),
				each(minors, []string{"porn", "pornography", "nudes", "erotica"})...),
				"child sexual abuse material", "sexualized minor", "sexualized minors", "underage sex", "underage porn", "child grooming tips"),
			[]string{"csam", "underage", "pedophile", "paedophile", "lolita"},
		},
		{
			"illicit",
			append(each(asking, illicitActs), "buy fentanyl online", "buy cocaine online", "buy stolen credit cards", "stolen credit cards for sale", "hire a hitman"),
			[]string{"pipe bomb", "nerve agent", "sarin", "fentanyl", "methamphetamine", "money laundering", "ghost gun", "hitman", "ransomware builder", "carding forum"},
		},
	}
}
