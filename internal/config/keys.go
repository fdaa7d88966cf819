package config

import (
	"net/url"
	"path"
	"regexp"
	"strings"
)

// Small makers keep the tables readable.
func group(doc string, fields ...field) *spec { return &spec{kind: sGroup, doc: doc, fields: fields} }
func text(doc string) *spec                   { return &spec{kind: sText, doc: doc} }
func boolean(doc string) *spec                { return &spec{kind: sBool, doc: doc} }
func texts(doc string) *spec                  { return &spec{kind: sList, doc: doc, elem: nonEmpty("one element")} }

func oneOf(doc string, values ...string) *spec {
	return &spec{kind: sText, doc: doc, enum: values}
}

func integer(doc string, lo, hi float64) *spec {
	return &spec{kind: sInt, doc: doc, min: lo, max: hi}
}

func upTo(doc string, hi float64) *spec {
	return &spec{kind: sNumber, doc: doc, max: hi}
}

func size(doc string, lo, hi float64) *spec {
	return &spec{kind: sBytes, doc: doc, min: lo, max: hi}
}

func nonEmpty(doc string) *spec {
	return &spec{kind: sText, doc: doc, check: func(n *node) (string, string) {
		if strings.TrimSpace(n.text) == "" {
			return "is empty", "write a value or remove it"
		}
		return "", ""
	}}
}

func matching(doc, form, re string) *spec {
	return &spec{kind: sText, doc: doc, form: form, pattern: regexp.MustCompile(re)}
}

// The forms of names and values used in more than one place.
const (
	labelRE  = `^[a-z][a-z0-9_-]*(\{(\*|[a-z][a-z0-9_-]*(,[a-z][a-z0-9_-]*)*)\})?(/[a-z]+)?$`
	userRE   = `^[a-z0-9_][a-z0-9_-]{0,31}$`
	userForm = "1 to 32 of a-z, 0-9, _ and -, not starting with -"
	envRE    = `^[A-Za-z_][A-Za-z0-9_]*$`
	hostRE   = `^(\[[0-9a-f:.]+\]|[a-z0-9]([a-z0-9.-]*[a-z0-9])?)`
)

// clearance is a label; its names are those of labels:, see labels.go.
func clearance(doc string) *spec {
	s := matching(doc, "a label: a level, then optionally {compartments} and /integrity", labelRE)
	s.label = true
	return s
}

// configSpec is the table of sallyport.yaml.
func configSpec() *spec {
	return group("Sallyport's settings.", append([]field{
		{"security", securitySpec()},
		{"readOnlyMode", boolean("true: no agent executes, writes or sends anything, whatever else is set.")},
		{"tools", toolsSpec()},
		{"logging", loggingSpec()},
		{"log", logSpec()},
		{"models", modelsSpec()},
		{"endpoints", endpointsSpec()},
		{"agents", agentsSpec()},
		{"profiles", profilesSpec()},
		{"network", networkSpec("What connections of every profile that has a network may reach.")},
		{"secrets", secretsSpec()},
		{"policy", policySpec()},
		{"spendLimitDollars", money("US dollars all agents together may spend; absent: only each agent's own limit.")},
		{"dayLimitDollars", money("US dollars all agents together may spend per day (UTC).")},
		{"data_masking", maskingSpec()},
		{"compliance", complianceSpec()},
		{"monitoring", monitoringSpec()},
		{"moderation", moderationSpec()},
		{"proxy", proxySpec()},
		{"alerts", alertsSpec()},
		{"labels", labelsSpec()},
		{"organisation", organisationSpec()},
		{"folders", foldersSpec()},
		{"clearances", clearancesSpec()},
		{"vault", vaultSpec()},
		{"shellOutputTokens", integer("Tokens of one command's output that reach the model; the middle of longer output is cut.", 100, 200_000)},
	}, laterSpecs()...)...)
}

func securitySpec() *spec {
	python := boolean("Must be false: there is no Python tool in this release, and a call to one is refused.")
	python.laterIf = func(n *node) bool { return n.b }
	paths := texts("Directories whose files agents may be given, beside their own home and view.")
	paths.elem = &spec{kind: sText, doc: "An absolute directory path.", check: absolutePath}
	s := group("Execution and files.",
		field{"enable_command_execution", boolean("true: the shell tool exists. A profile's own setting wins over this one.")},
		field{"enable_python_exec", python},
		field{"allowed_file_paths", paths},
		field{"blocked_commands", texts("Programs, with or without arguments, that are refused before the sandbox's limits apply.")})
	s.fields = append(s.fields, screeningFields()...)
	return s
}

func toolsSpec() *spec {
	s := group("Limits of tools.",
		field{"command_timeout", integer("Seconds one shell command may run before it is ended and its output so far returned.", 1, 86_400)})
	s.fields = append(s.fields, laterTools()...)
	return s
}

func loggingSpec() *spec {
	level := oneOf("Lowest level written: debug, info, warning or error, in any case.", "debug", "info", "warning", "error")
	level.fold = true
	s := group("The readable log.",
		field{"level", level},
		field{"file", nonEmpty("Path of the log file; a relative one is below the state directory.")},
		field{"max_bytes", size("Size at which the file is rotated.", 4096, 1<<40)},
		field{"backup_count", integer("Rotated files kept.", 0, 1000)})
	s.fields = append(s.fields,
		field{"format", oneOf("Form of a line: json or text.", "json", "text")},
		field{"file_rotation", boolean("false: the file grows without end.")},
		field{"max_file_size_mb", integer("Megabytes at which the file is rotated; wins over max_bytes.", 1, 1e6)})
	return s
}

func logSpec() *spec {
	link := text("URL that receives each checkpoint by POST.")
	link.check = webURL
	anchor := group("One place outside this machine's control that receives checkpoints.",
		field{"file", nonEmpty("A file, best on another machine's disk.")},
		field{"git", nonEmpty("A git repository's directory.")},
		field{"webhook", link})
	anchor.whole = func(n *node) (string, string, string) {
		if len(n.entries) != 1 {
			return "", "must name exactly one of file, git and webhook", "write one list element per place"
		}
		return "", "", ""
	}
	return group("The verifiable log.",
		field{"anchor", &spec{kind: sList, doc: "Places that receive every checkpoint, so that whoever owns this host cannot rewrite history unseen.", elem: anchor}})
}

func modelsSpec() *spec {
	base := text("Base URL of an API of the provider's form (Ollama, vLLM, llama.cpp); absent: the provider's own. ${env.X} is expanded.")
	base.check = func(n *node) (string, string) {
		if strings.HasPrefix(n.text, "${env.") {
			return "", ""
		}
		return webURL(n)
	}
	price := group("US dollars per million tokens.",
		field{"input", upTo("Price of input.", 1e6)}, field{"output", upTo("Price of output.", 1e6)},
		field{"cache_read", upTo("Price of input read from the provider's cache.", 1e6)},
		field{"cache_write", upTo("Price of input written to the provider's cache.", 1e6)})
	price.required = []string{"input", "output"}
	m := group("One model.",
		field{"provider", oneOf("Whose API it speaks: openai, anthropic, gemini or builtin.", "openai", "anthropic", "gemini", "builtin")},
		field{"model", nonEmpty("The provider's name of the model. ${env.X} is expanded.")},
		field{"base_url", base},
		field{"key_env", matching("Environment variable that holds the API key.", "a variable's name", envRE)},
		field{"max_output", integer("Most tokens one reply may have.", 1, 10_000_000)},
		field{"price", price},
		field{"clearance", clearance("Highest label this model may receive; absent: the endpoint's clearance.")})
	m.required = []string{"provider", "model"}
	m.whole = func(n *node) (string, string, string) {
		if n.get("provider").val.text == "builtin" {
			for _, k := range []string{"base_url", "key_env"} {
				if n.get(k) != nil {
					return k, "has no meaning for a builtin model", "remove it: a builtin model connects to nothing"
				}
			}
		}
		return "", "", ""
	}
	return &spec{
		kind: sDict, doc: "Names that agent files use for models.", elem: m,
		keys: regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._/:-]{0,63}$`), keyForm: "letters, digits and . _ / : -",
	}
}

func endpointsSpec() *spec {
	private := texts("Private or loopback addresses, host:port, that may be connected to under this entry.")
	private.elem = matching("host:port", "host:port, such as 127.0.0.1:11434", hostRE+`:[1-9][0-9]{0,4}$`)
	return &spec{
		kind: sDict, doc: "What each destination may receive: a provider's name, a host, or host:port.",
		keys: regexp.MustCompile(hostRE + `(:[1-9][0-9]{0,4})?$`), keyForm: "a provider (anthropic, openai, gemini), a host in lower case, or host:port",
		elem: group("One destination.",
			field{"clearance", clearance("Highest label it may receive; absent: public.")},
			field{"allow_private", private}),
	}
}

func agentsSpec() *spec {
	return &spec{
		kind: sDict, doc: "Settings by agent username.",
		keys: regexp.MustCompile(userRE), keyForm: userForm,
		elem: group("One agent.",
			field{"profile", matching("The profile it runs under; absent: workspace.", profileForm, profileRE)},
			field{"commandProtection", oneOf("none, manual or auto; the stricter of this and the agent file's counts.", "none", "manual", "auto")},
			field{"clearance", clearance("Highest label it may read; absent: public.")},
			field{"memory", clearance("Fixed label of its session note; absent: what its profile's view shows.")},
			field{"spendLimitDollars", money("US dollars it may ever spend; the lower of this and the agent file's counts.")},
			field{"dayLimitDollars", money("US dollars it may spend per day (UTC).")}),
	}
}

func money(doc string) *spec { return &spec{kind: sNumber, doc: doc, max: 1e6, exclusive: true} }

func policySpec() *spec {
	s := texts("Further Cedar policy files; a relative path is beside this file.")
	s.elem = matching("A *.cedar file.", "the path of a file that ends in .cedar", `\.cedar$`)
	return s
}

func absolutePath(n *node) (problem, remedy string) {
	switch {
	case !path.IsAbs(n.text):
		return "must be an absolute path", "write the whole path, from /; ~ and variables are not expanded"
	case strings.Contains(n.text+"/", "/../"):
		return "must not contain ..", "write the directory that is meant"
	case strings.ContainsAny(n.text, "*?"):
		return "must name a directory, not a pattern", "write the directory itself"
	}
	return "", ""
}

func webURL(n *node) (problem, remedy string) {
	u, err := url.Parse(n.text)
	switch {
	case err != nil, u.Scheme != "https" && u.Scheme != "http", u.Host == "":
		return "is not a web address", "write https://host/path"
	case u.User != nil:
		return "contains a user name or password", "name the key's variable in key_env instead"
	case u.RawQuery != "" || u.Fragment != "":
		return "contains a query or a fragment", "end the address before ? and #"
	}
	return "", ""
}
