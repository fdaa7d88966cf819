package config

import (
	"regexp"
	"sync"
)

const (
	profileRE   = `^[a-z0-9][a-z0-9-]{0,31}$`
	profileForm = "1 to 32 of a-z, 0-9 and -, not starting with -"
	day         = 86_400
)

// extendsNothing starts a profile from nothing.
const extendsNothing = "none"

func whySpec() *spec { return text("Why it is needed; shown to whoever is asked about it.") }

// checked is a text with a check of its own.
func checked(doc string, check func(n *node) (problem, remedy string)) *spec {
	return &spec{kind: sText, doc: doc, check: check}
}

func listOf(doc string, elem *spec) *spec { return &spec{kind: sList, doc: doc, elem: elem} }

func requiring(s *spec, keys ...string) *spec {
	s.required = keys
	return s
}

func profilesSpec() *spec {
	return &spec{
		kind: sDict, doc: "The named bundles of limits. A shipped name adds to what is shipped; a new one says what it extends.",
		keys: regexp.MustCompile(profileRE), keyForm: profileForm, elem: profileSpec(),
	}
}

// profileSpec is the table of one profile, made once: ten are read at a start.
var profileSpec = sync.OnceValue(func() *spec {
	return group("One profile.",
		field{"description", text("What it is for, in one line.")},
		field{"extends", matching("The profile it starts from: lists are added to, values replaced. none: starts from nothing.", "a profile's name, or none", profileRE)},
		field{"view", oneOf("What of the host is seen: workspace (the system, the working directory, a private home) or auditor (everything, read-only).", "auditor", "workspace")},
		field{"commands", listOf("Program names that select this profile in `sallyport guard`.", matching("A program's base name.", "a base name without a slash", `^[A-Za-z0-9][A-Za-z0-9._+-]{0,63}$`))},
		field{"workdir", oneOf("The working directory: cow (changes are kept apart until they are committed), direct (written at once) or read-only.", "cow", "direct", "read-only")},
		field{"enable_command_execution", boolean("Whether the shell tool exists here; absent: security.enable_command_execution.")},
		field{"view_label", clearance("The label of what can be read inside.")},
		field{"required_tier", oneOf("Weakest confinement that is accepted: full, or landlock.", "full", "landlock")},
		field{"local_sockets", boolean("Whether programs may make Unix sockets among themselves.")},
		field{"mounts", listOf("Host paths shown read-only.", mountSpec())},
		field{"home", listOf("Files of the private home; never secrets.", homeSpec())},
		field{"sockets", listOf("Host socket files that may be connected to.", requiring(group("One socket.",
			field{"path", checked("An absolute path, or one that starts with ~/ or ${env.X}.", hostPath)}, field{"why", whySpec()}), "path"))},
		field{"env", envSpec()},
		field{"env_pass", listOf("Variables passed from the operator's environment.", requiring(group("One variable.",
			field{"name", checked("The variable's name.", passName)}, field{"why", whySpec()}), "name"))},
		field{"protected", listOf("Globs below the working directory whose changes need an explicit yes at commit.", checked("A glob.", insidePath))},
		field{"pinned", listOf("Paths below a directly written working directory that stay as they are.", checked("A relative path or glob.", insidePath))},
		field{"network", networkSpec("What connections may reach.")},
		field{"secrets", listOf("Names of the top-level secrets this profile uses.", matching("A secret's name.", profileForm, profileRE))},
		field{"limits", limitsSpec()})
})

func limitsSpec() *spec {
	return group("Bounds of one session; absent: the sandbox's own.",
		field{"memory", size("Memory of all processes together.", 1<<24, 1<<44)},
		field{"pids", integer("Processes and threads at one time.", 8, 1<<20)},
		field{"cpu_seconds", integer("CPU time of one process.", 1, 365*day)},
		field{"cpu_percent", integer("Share of one CPU for all processes together, in percent; 200 is two CPUs.", 1, 102_400)},
		field{"wall_seconds", integer("Life of a session.", 1, 365*day)},
		field{"file_size", size("Largest file that can be written.", 4096, 1<<44)},
		field{"disk", size("Bytes all changes together may take.", 1<<20, 1<<50)},
		field{"disk_files", integer("Files and directories all changes together may make.", 16, 1e9)},
		field{"tmp", size("Bytes of each private temporary file system.", 1<<20, 1<<44)})
}

func homeSpec() *spec {
	content := checked("What the file holds; written at each start. Absent: copied from the operator's home, where it may be absent too.", noSecret)
	content.multiline = true
	return requiring(group("One file or directory.",
		field{"path", checked("Path relative to the home.", homePath)},
		field{"content", content},
		field{"why", whySpec()}), "path")
}

func mountSpec() *spec {
	return requiring(group("One path, shown read-only.",
		field{"path", checked("An absolute path, or one that starts with ~/ or ${env.X}.", hostPath)},
		field{"view", checked("Where it appears inside; absent: at the same path.", absolutePath)},
		field{"why", whySpec()},
		field{"optional", boolean("true: left out when it does not exist on the host.")}), "path")
}

func envSpec() *spec {
	s := &spec{
		kind: sDict, doc: "Variables set inside. ${run.ca}, ${run.proxy}, ${run.home}, ${run.workdir} and ${secret.NAME} (its placeholder) are replaced.",
		keys: regexp.MustCompile(envRE), keyForm: "a variable's name", elem: checked("The value.", envValue),
	}
	s.entry = envEntry
	return s
}

func networkSpec(doc string) *spec {
	port := integer("A port.", 1, 65_535)
	rule := requiring(group("One destination.",
		field{"host", checked("A name, *.suffix (not the suffix itself), an address, or a range such as 10.0.0.0/8.", hostPattern)},
		field{"ports", listOf("Ports; absent: 443.", port)},
		field{"methods", listOf("HTTP methods; absent: all. Naming some has every request judged, TLS included.", matching("A method in capitals.", "a method in capitals, such as GET", `^[A-Z]{1,20}$`))},
		field{"paths", listOf("Paths, exact or a beginning with * at its end; absent: all. Naming some has every request judged, TLS included.", checked("A path.", urlPath))},
		field{"programs", listOf("Absolute paths or base names of the programs it is for; absent: all. It narrows, it does not confine: a program can start another.", matching("A program.", "an absolute path or a base name", `^(/[^\s/][^\s]*|[A-Za-z0-9][A-Za-z0-9._+-]*)$`))},
		field{"clearance", clearance("Highest label it may receive; absent: the profile's view_label.")},
		field{"label", clearance("Label of what comes back; absent: public/foreign.")},
		field{"private", boolean("true: it may be a private or loopback address.")},
		field{"why", whySpec()}), "host")
	rule.whole = privateRule
	address := checked("An address.", plainAddress)
	n := group(doc,
		field{"off", boolean("true: no network at all, whatever else is listed.")},
		field{"unlisted", oneOf("What a destination no rule names gets: deny, or ask (somebody is waited for). A standing grant answers both.", "deny", "ask")},
		field{"allow", listOf("Destinations that may be reached.", rule)},
		field{"hosts", &spec{
			kind: sDict, doc: "The operator's own addresses of names.", keys: regexp.MustCompile(nameRE), keyForm: "a host name in lower case",
			elem: listOf("Addresses of the name.", address),
		}},
		field{"roots", checked("PEM file of further certificate authorities that upstream servers may use.", absolutePath)})
	n.whole = offRules
	return n
}

func secretsSpec() *spec {
	from := group("Where the value is; exactly one. It is read when a session starts, never stored.",
		field{"env", matching("A variable of the operator's environment or .env file.", "a variable's name", envRE)},
		field{"file", checked("A file readable by its owner alone; an absolute path, or one that starts with ~/ or ${env.X}.", anyHostPath)},
		field{"keyring", matching("An entry of the system's keyring.", "service/user", `^[^/\s][^/]*/[^/]+$`)},
		field{"command", listOf("A program and its arguments, run without a shell; what it prints is the value.", nonEmpty("one word"))})
	from.whole = exactlyOne("env", "file", "keyring", "command")
	header := `^[A-Za-z0-9][A-Za-z0-9-]{0,63}$`
	place := group("One place of a request.",
		field{"header", matching("A header's name.", "a header's name", header)},
		field{"template", checked("Text of the header with {} where the value goes; absent: {} alone.", holdsOnce("{}"))},
		field{"query", nonEmpty("A query parameter's name.")},
		field{"json", matching("Dotted path of a field of a JSON body.", "names joined with dots", `^[^.\s]+(\.[^.\s]+)*$`)},
		field{"form", nonEmpty("A field's name of a form body.")},
		field{"basic", nonEmpty("The user name of basic authentication; the value is the password.")})
	place.whole = onePlace
	s := requiring(group("One secret, bound to one host. The session sees a placeholder; the value is put in its place outside.",
		field{"from", from},
		field{"host", checked("The one host that receives it: an exact name, or an address.", exactHost)},
		field{"port", integer("The port; absent: 443.", 1, 65_535)},
		field{"inject", &spec{kind: sList, doc: "Places of a request it is put into.", elem: place, min: 1, max: 16}},
		field{"placeholder", checked("What the session sees, with {random} in it and in the form the program accepts.", holdsOnce("{random}"))},
		field{"env", matching("Variable that shows the placeholder inside.", "a variable's name", envRE)},
		field{"optional", boolean("true: a session starts without it when its source has no value.")},
		field{"why", whySpec()}), "from", "host", "inject", "placeholder")
	return &spec{
		kind: sDict, doc: "Credentials that stay outside: a profile names those it uses.",
		keys: regexp.MustCompile(profileRE), keyForm: profileForm, elem: s,
	}
}
