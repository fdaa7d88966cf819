package config

import (
	"slices"
	"strings"
)

// Masking says what is hidden before anything is stored.
type Masking struct {
	Enabled  bool          `json:"enabled"`
	Patterns []MaskPattern `json:"patterns"` // beside secrets, which are always masked when it is enabled
}

// MaskPattern is one of the operator's.
type MaskPattern struct {
	Name        string `json:"name"`
	Regex       string `json:"regex,omitzero"` // RE2
	Replacement string `json:"replacement,omitzero"`
}

// Compliance holds how long events are kept, and what frameworks are promised.
type Compliance struct {
	RetentionDays int        `json:"retention_days,omitzero"` // 0: for ever
	Frameworks    Frameworks `json:"frameworks,omitzero"`
}

// Frameworks are promises that other settings have to keep; see Problems.
type Frameworks struct {
	SOC2  bool `json:"soc2,omitzero"`
	GDPR  bool `json:"gdpr,omitzero"`
	HIPAA bool `json:"hipaa,omitzero"`
}

// Monitoring says which channels the readable log shows and which alerts of an
// event raise one. The evidence itself cannot be switched off.
type Monitoring struct {
	Enabled     bool     `json:"enabled"`
	Channels    []string `json:"channels"`     // SYSTEM, LLM, API, MCP, SHELL, MAIL, OPERATOR; empty: all
	AlertLevels []string `json:"alert_levels"` // suspicious, dangerous, warning, error
}

// Moderation judges texts by category.
type Moderation struct {
	Enabled    bool               `json:"enabled"`
	Endpoint   string             `json:"endpoint,omitzero"` // base URL of an OpenAI-compatible API; "": the built-in word lists
	KeyEnv     string             `json:"key_env,omitzero"`
	Model      string             `json:"model,omitzero"`
	Action     string             `json:"action,omitzero"`     // log, alert, ask or block
	OnError    string             `json:"on_error,omitzero"`   // the same, when the endpoint does not answer
	Thresholds map[string]float64 `json:"thresholds,omitzero"` // by category, 0 to 1
	Input      bool               `json:"input,omitzero"`
	Output     bool               `json:"output,omitzero"`
}

// Proxy holds the settings of the model proxy.
type Proxy struct {
	Listen         string                   `json:"listen"` // host:port
	TLS            *ProxyTLS                `json:"tls,omitempty"`
	Upstreams      map[string]ProxyUpstream `json:"upstreams"`          // by vendor: openai, anthropic, gemini
	MaxBody        int64                    `json:"max_body,omitzero"`  // bytes of one request
	MaxCalls       int                      `json:"max_calls,omitzero"` // tool calls of one reply
	ApprovalWait   int                      `json:"approval_wait_seconds,omitzero"`
	ToolsClearance string                   `json:"tools_clearance,omitzero"` // label that clients' tools may receive
	ToolsLabel     string                   `json:"tools_label,omitzero"`     // label of what they bring in
	Explain        bool                     `json:"explain"`                  // clients are told why, not only by which rule
	Bounce         bool                     `json:"bounce"`                   // denied calls of plain replies go back to the model first
	Hosts          []string                 `json:"hosts"`                    // further names of the listener
}

// ProxyTLS names the certificate of a listener that others reach.
type ProxyTLS struct {
	Cert string `json:"cert,omitzero"`
	Key  string `json:"key,omitzero"`
}

// ProxyUpstream is where a vendor's API is reached.
type ProxyUpstream struct {
	BaseURL string `json:"base_url,omitzero"`
	KeyEnv  string `json:"key_env,omitzero"`
}

// Alerts say who is told of what.
type Alerts struct {
	Sinks []AlertSink `json:"sinks"`
	Rules []AlertRule `json:"rules"`
	Off   []string    `json:"off"` // names of shipped rules that are left out
}

// AlertSink is one receiver; exactly one of the pointers and Command is set.
type AlertSink struct {
	Name    string   `json:"name"`
	Webhook *Webhook `json:"webhook,omitempty"`
	Syslog  *Syslog  `json:"syslog,omitempty"`
	Mail    *Mail    `json:"mail,omitempty"`
	Command []string `json:"command,omitempty"`
}

// Webhook receives signed POST requests.
type Webhook struct {
	URL       string `json:"url,omitzero"`
	SecretEnv string `json:"secret_env,omitzero"` // variable that holds the key of the signatures
}

// Syslog receives RFC 5424 messages.
type Syslog struct {
	Network  string `json:"network,omitzero"` // udp, tcp, tls or unix
	Address  string `json:"address,omitzero"`
	Facility string `json:"facility,omitzero"` // "" means local0
}

// Mail receives messages by SMTP.
type Mail struct {
	Server      string   `json:"server,omitzero"` // host:port
	From        string   `json:"from,omitzero"`
	To          []string `json:"to,omitzero"`
	UserEnv     string   `json:"user_env,omitzero"`
	PasswordEnv string   `json:"password_env,omitzero"`
}

// AlertRule raises an alert when Count events match within Within.
type AlertRule struct {
	Name     string             `json:"name"`
	Event    string             `json:"event,omitzero"` // glob over event types
	Level    string             `json:"level,omitzero"`
	Alert    string             `json:"alert,omitzero"`
	Agent    string             `json:"agent,omitzero"`
	Min      map[string]float64 `json:"min,omitzero"` // fields of data that are numbers, and their least values
	Count    int                `json:"count,omitzero"`
	Within   string             `json:"within,omitzero"` // a duration, "10m"
	By       []string           `json:"by,omitzero"`
	Severity string             `json:"severity,omitzero"` // low, medium, high or critical
	Title    string             `json:"title,omitzero"`
	Sinks    []string           `json:"sinks"` // empty: all
	Cooldown string             `json:"cooldown,omitzero"`
}

// vendors are those whose API the proxy speaks, with their public addresses.
var vendors = map[string]ProxyUpstream{
	"openai":    {BaseURL: "https://api.openai.com", KeyEnv: "OPENAI_API_KEY"},
	"anthropic": {BaseURL: "https://api.anthropic.com", KeyEnv: "ANTHROPIC_API_KEY"},
	"gemini":    {BaseURL: "https://generativelanguage.googleapis.com", KeyEnv: "GOOGLE_API_KEY"},
}

func defaultProxy() Proxy {
	return Proxy{
		Listen: "127.0.0.1:4117", Upstreams: map[string]ProxyUpstream{}, MaxBody: 64 << 20, MaxCalls: 1024,
		ApprovalWait: 120, ToolsClearance: "internal", ToolsLabel: "public/foreign", Explain: true, Hosts: []string{},
	}
}

// Upstream gives where a vendor's API is reached; ok is false for a vendor that
// is none.
func (c *Config) Upstream(vendor string) (ProxyUpstream, bool) {
	u, ok := vendors[vendor]
	own := c.Proxy.Upstreams[vendor]
	if own.BaseURL != "" {
		u.BaseURL = own.BaseURL
		u.KeyEnv = own.KeyEnv // the vendor's own key goes to the vendor only
	}
	if own.KeyEnv != "" {
		u.KeyEnv = own.KeyEnv
	}
	return u, ok
}

// VendorURL gives a vendor's public address; "" for a vendor that is none.
func VendorURL(vendor string) string { return vendors[vendor].BaseURL }

// monitorProblems lists what the monitor's settings contradict.
func (c *Config) monitorProblems(add func(key, format string, args ...any)) {
	host := strings.Trim(c.Proxy.Listen[:strings.LastIndexByte(c.Proxy.Listen, ':')], "[]")
	if c.Proxy.TLS == nil && plainRemote("http://"+strings.ReplaceAll(c.Proxy.Listen, "localhost", "127.0.0.1")) {
		add("proxy.listen", "is reached from other machines (%s) without TLS, where anybody on the way reads prompts and keys; set proxy.tls, or listen on 127.0.0.1", host)
	}
	for _, name := range sortedKeys(c.Proxy.Upstreams) {
		if u := c.Proxy.Upstreams[name]; u.KeyEnv != "" && u.BaseURL != "" && plainRemote(u.BaseURL) {
			add("proxy.upstreams."+name+".base_url", "sends the key in %s over http to another machine; use https", u.KeyEnv)
		}
	}
	if m := c.Moderation; m.Enabled && m.Endpoint != "" && plainRemote(m.Endpoint) {
		add("moderation.endpoint", "sends prompts over http to another machine; use https")
	}
	f := c.Compliance.Frameworks
	for _, need := range []struct {
		on  bool
		key string
		ok  bool
		say string
	}{
		{f.GDPR, "gdpr", c.DataMasking.Enabled && c.Compliance.RetentionDays > 0, "needs data_masking.enabled: true and compliance.retention_days"},
		{f.HIPAA, "hipaa", c.DataMasking.Enabled && len(c.DataMasking.Patterns) > 0 && len(c.Log.Anchor) > 0, "needs data_masking.enabled: true with patterns, and a place under log.anchor"},
		{f.SOC2, "soc2", len(c.Log.Anchor) > 0 && len(c.Alerts.Sinks) > 0, "needs a place under log.anchor and a receiver under alerts.sinks"},
	} {
		if need.on && !need.ok {
			add("compliance.frameworks."+need.key, "%s; set them, or take the promise back", need.say)
		}
	}
	names := make([]string, len(c.Alerts.Sinks))
	for i, s := range c.Alerts.Sinks {
		names[i] = s.Name
	}
	for i, r := range c.Alerts.Rules {
		for _, s := range r.Sinks {
			if !slices.Contains(names, s) {
				add("alerts.rules", "rule %d (%s) names the sink %q, which is not under alerts.sinks", i+1, r.Name, s)
			}
		}
	}
}
