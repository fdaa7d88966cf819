package config

import (
	"net"
	"regexp"
	"strconv"
	"time"
)

// The tables of the monitor's settings.

const alertActions = "log, alert, ask or block"

func reaction(doc string) *spec { return oneOf(doc, "log", "alert", "ask", "block") }

// detectorClasses are the built-in detectors that have an action of their own.
var detectorClasses = []string{"secret", "pii", "injection", "invisible", "terminal", "exfil", "paths", "call"}

func screeningFields() []field {
	modes := &spec{
		kind: sDict, doc: "How single words of both lists are looked for; absent: as commands where they are commands of SQL or a shell, else as whole words.",
		keys: regexp.MustCompile(`\S`), keyForm: "a word of the lists", elem: oneOf("The way.", "word", "substring", "regex", "command"),
	}
	detectors := &spec{
		kind: sDict, doc: "What the built-in detectors lead to, by class.", keyEnum: detectorClasses,
		elem: reaction("What a finding of the class does: " + alertActions + "."),
	}
	return []field{
		{"suspicious_keywords", texts("Words that do what suspicious_action says.")},
		{"dangerous_keywords", texts("Words that do what dangerous_action says.")},
		{"suspicious_action", reaction("What a suspicious word does: " + alertActions + ".")},
		{"dangerous_action", reaction("What a dangerous word does: " + alertActions + ".")},
		{"keyword_modes", modes},
		{"detectors", detectors},
		{"canaries", listOf("Values that nobody has a reason to send, in any coding: always blocked, always masked.", checked("A canary.", canary))},
		{"unscanned_action", reaction("What a text does that could not be read wholly: " + alertActions + ".")},
	}
}

func maskingSpec() *spec {
	re := text("A regular expression (RE2).")
	re.check = func(n *node) (string, string) {
		if len(n.text) > 2000 {
			return "is longer than 2,000 characters", "split it into several patterns"
		}
		if _, err := regexp.Compile(n.text); err != nil {
			return "does not compile: " + err.Error(), "write it in RE2 syntax"
		}
		return "", ""
	}
	pattern := requiring(group("One pattern.",
		field{"name", nonEmpty("Name.")}, field{"regex", re}, field{"replacement", text("What stands there instead.")}), "name", "regex", "replacement")
	return group("Masking of every text before it is stored. Secrets are masked without a pattern.",
		field{"enabled", boolean("Whether values are masked.")},
		field{"patterns", listOf("What is masked besides.", pattern)})
}

func complianceSpec() *spec {
	return group("Retention and frameworks.",
		field{"retention_days", integer("Days that the values of events are kept; their proofs stay. Absent: for ever.", 1, 36_500)},
		field{"frameworks", group("Promises that other settings have to keep: a start is refused when they do not.",
			field{"soc2", boolean("Checkpoints elsewhere and somebody who is told of alerts.")},
			field{"gdpr", boolean("Masking and retention.")},
			field{"hipaa", boolean("Masking with patterns and checkpoints elsewhere.")})})
}

func monitoringSpec() *spec {
	enabled := boolean("Must be true: nothing takes effect without evidence.")
	enabled.check = func(n *node) (string, string) {
		if !n.b {
			return "would switch the evidence off, and without evidence nothing takes effect", "remove the line"
		}
		return "", ""
	}
	channel := oneOf("A channel.", "system", "llm", "api", "mcp", "shell", "mail", "operator")
	channel.fold = true
	level := oneOf("A level.", "suspicious", "dangerous", "warning", "error")
	level.fold = true
	return group("What is shown and told of what is recorded.",
		field{"enabled", enabled},
		field{"channels", listOf("Channels that the readable log shows; empty: all.", channel)},
		field{"alert_levels", listOf("Events of these levels raise an alert.", level)})
}

func moderationSpec() *spec {
	link := text("Base URL of an OpenAI-compatible API; absent: the built-in word lists.")
	link.check = webURL
	return group("Judges texts by category.",
		field{"enabled", boolean("Whether texts are moderated.")},
		field{"endpoint", link},
		field{"key_env", matching("Variable that holds the endpoint's key.", "a variable's name", envRE)},
		field{"model", nonEmpty("The endpoint's name of the model.")},
		field{"action", reaction("What a flagged text does: " + alertActions + ".")},
		field{"on_error", reaction("What a text does that the endpoint did not judge: " + alertActions + ".")},
		field{"thresholds", &spec{kind: sDict, doc: "From which score a category counts.", keys: regexp.MustCompile(`^[a-z][a-z0-9/_-]{0,40}$`), keyForm: "a category's name", elem: upTo("0 to 1.", 1)}},
		field{"input", boolean("Whether what goes to a model is judged.")},
		field{"output", boolean("Whether what a model says is judged.")})
}

func proxySpec() *spec {
	base := text("Address of the API; absent: the vendor's own.")
	base.check = webURL
	return group("The model proxy.",
		field{"listen", checked("host:port to listen on.", hostPortText)},
		field{"tls", requiring(group("The listener's certificate.",
			field{"cert", nonEmpty("PEM file.")}, field{"key", nonEmpty("PEM file.")}), "cert", "key")},
		field{"upstreams", &spec{kind: sDict, doc: "Where vendors' APIs are reached.", keyEnum: []string{"openai", "anthropic", "gemini"}, elem: group("One vendor.",
			field{"base_url", base}, field{"key_env", matching("Variable that holds its key.", "a variable's name", envRE)})}},
		field{"max_body", size("Largest request.", 1<<10, 1<<30)},
		field{"max_calls", integer("Most tool calls of one reply.", 1, 100_000)},
		field{"approval_wait_seconds", integer("Seconds a held call waits for somebody's answer.", 0, 3600)},
		field{"tools_clearance", clearance("Highest label that the tools of clients may receive.")},
		field{"tools_label", clearance("Label of what they bring in.")},
		field{"explain", boolean("false: clients are told by which rule a call was denied, not why.")},
		field{"bounce", boolean("true: a denied call of a plain reply goes back to the model, once or twice, before the client hears of it.")},
		field{"hosts", listOf("Further names by which clients may address the listener.", checked("A host name.", exactHost))})
}

func alertsSpec() *spec {
	hook := text("Address that receives alerts by POST.")
	hook.check = webURL
	sink := requiring(group("One receiver.",
		field{"name", matching("Its name.", profileForm, profileRE)},
		field{"webhook", requiring(group("Signed POST requests.", field{"url", hook}, field{"secret_env", matching("Variable that holds the key of the signatures.", "a variable's name", envRE)}), "url", "secret_env")},
		field{"syslog", requiring(group("RFC 5424.", field{"network", oneOf("How.", "udp", "tcp", "tls", "unix")}, field{"address", nonEmpty("host:port, or a socket's path.")}, field{"facility", oneOf("Facility.", "user", "daemon", "auth", "authpriv", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7")}), "network", "address")},
		field{"mail", requiring(group("SMTP.", field{"server", checked("host:port.", hostPortText)}, field{"from", nonEmpty("Sender.")}, field{"to", texts("Receivers.")},
			field{"user_env", matching("Variable that holds the user name.", "a variable's name", envRE)}, field{"password_env", matching("Variable that holds the password.", "a variable's name", envRE)}), "server", "from", "to")},
		field{"command", texts("A program and its arguments; the alert is its standard input.")}), "name")
	sink.whole = exactlyOne("webhook", "syslog", "mail", "command")
	rule := requiring(group("One rule.",
		field{"name", matching("Its name.", profileForm, profileRE)},
		field{"event", nonEmpty("Event types, with * for any part.")},
		field{"level", oneOf("Least level.", "debug", "info", "warning", "error")},
		field{"alert", oneOf("Least alert of the event.", "suspicious", "dangerous")},
		field{"agent", nonEmpty("Only this agent's.")},
		field{"min", &spec{kind: sDict, doc: "Numbers of data and their least values.", keys: regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.]{0,63}$`), keyForm: "a field's name", elem: &spec{kind: sNumber, doc: "Least value."}}},
		field{"count", integer("Events it takes.", 1, 1_000_000)},
		field{"within", checked("Time in which they happen.", durationText)},
		field{"by", listOf("Counted apart by these.", oneOf("A part.", "agent", "session", "key", "channel"))},
		field{"severity", oneOf("How bad.", "low", "medium", "high", "critical")},
		field{"title", nonEmpty("What people read.")},
		field{"sinks", texts("Who is told; absent: everybody.")},
		field{"cooldown", checked("Time before it is raised again.", durationText)}), "name", "severity")
	return group("Who is told of what.",
		field{"sinks", listOf("Receivers.", sink)},
		field{"rules", listOf("Rules beside the shipped ones.", rule)},
		field{"off", texts("Shipped rules that are left out.")})
}

func canary(n *node) (problem, remedy string) {
	if len(n.text) < 8 || len(n.text) > 4096 {
		return "has not 8 to 4096 bytes", "use a long random value, so that it is not found by chance"
	}
	return "", ""
}

func hostPortText(n *node) (problem, remedy string) {
	host, port, err := net.SplitHostPort(n.text)
	if err != nil || host == "" {
		return "is not host:port", "write it as host:port, such as 127.0.0.1:4117"
	}
	if !ValidPort(port) {
		return "has no port from 0 to 65535", "write it as host:port, such as 127.0.0.1:4117"
	}
	return "", ""
}

// ValidPort tells whether a text is a TCP port's number, or 0 for any.
func ValidPort(text string) bool {
	p, err := strconv.ParseUint(text, 10, 16)
	return err == nil && (p != 0 || text == "0")
}

func durationText(n *node) (problem, remedy string) {
	if d, err := time.ParseDuration(n.text); err != nil || d <= 0 || d > 30*24*time.Hour {
		return "is no time up to 720h", `write it as "10m" or "1h30m"`
	}
	return "", ""
}
