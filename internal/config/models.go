package config

import (
	"net/netip"
	"net/url"
	"slices"
	"strings"
)

// Model is what an alias stands for.
type Model struct {
	Provider  string `json:"provider"`             // openai, anthropic, gemini or builtin
	Model     string `json:"model"`                // the provider's own name
	BaseURL   string `json:"base_url,omitempty"`   // "" means the provider's own address
	KeyEnv    string `json:"key_env,omitempty"`    // variable that holds the key; "" means no key is sent
	MaxOutput int    `json:"max_output,omitempty"` // most tokens of one reply; 0 means not known
	Price     *Price `json:"price,omitempty"`      // nil means: see the shipped price table
	Clearance string `json:"clearance,omitempty"`  // label; "" means the endpoint's
}

// Price is in US dollars per million tokens.
type Price struct {
	Input      float64 `json:"input"`
	Output     float64 `json:"output"`
	CacheRead  float64 `json:"cache_read"`
	CacheWrite float64 `json:"cache_write"`
}

// keyEnvs are the variables that hold a provider's key unless key_env says otherwise.
var keyEnvs = map[string]string{"openai": "OPENAI_API_KEY", "anthropic": "ANTHROPIC_API_KEY", "gemini": "GOOGLE_API_KEY"}

// shippedModels are the names agent files of 2024 use, with the models they
// meant. A retired one is not replaced silently: its provider says so, and the
// operator maps the name to a successor.
func shippedModels() map[string]Model {
	free := func() *Price { return &Price{} }
	return map[string]Model{
		"builtin/auditor": {Provider: "builtin", Model: "auditor", Price: free()},
		"gpt4turbo":       {Provider: "openai", Model: "gpt-4-0125-preview", MaxOutput: 4096},
		"gpt3turbo":       {Provider: "openai", Model: "gpt-3.5-turbo-0125", MaxOutput: 4096},
		"gemini-pro":      {Provider: "gemini", Model: "gemini-1.0-pro", MaxOutput: 2048},
		"claude3opus":     {Provider: "anthropic", Model: "claude-3-opus-20240229", MaxOutput: 4096},
		"claude3sonnet":   {Provider: "anthropic", Model: "claude-3-sonnet-20240229", MaxOutput: 4096},
		"claude3haiku":    {Provider: "anthropic", Model: "claude-3-haiku-20240307", MaxOutput: 4096},
		"local":           {Provider: "openai", Model: "${env.LOCAL_LLM_NAME}", BaseURL: "${env.LOCAL_LLM_URL}", Price: free()},
	}
}

// ResolveModel gives the model an agent file's name stands for, with the
// provider's usual key variable filled in. An unknown name is an error of kind
// fault.Config that lists the known ones. Call [Model.Expand] before use.
func (c *Config) ResolveModel(name string) (Model, error) {
	m, ok := c.Models[name]
	if !ok {
		return Model{}, c.unknown("models", "model", name, sortedKeys(c.Models))
	}
	if m.KeyEnv == "" && m.BaseURL == "" {
		m.KeyEnv = keyEnvs[m.Provider]
	}
	return m, nil
}

// Expand replaces ${env.X} in the model's name and base address. A variable
// that is not set, or an address that is none, is an error of kind fault.Config.
func (m Model) Expand(env *Env) (Model, error) {
	for _, p := range []struct {
		key string
		val *string
	}{{"model", &m.Model}, {"base_url", &m.BaseURL}} {
		out, terr := expand(*p.val, nil, env)
		if terr != nil {
			return Model{}, &Error{Key: "models." + p.key, Problem: terr.problem, Remedy: terr.remedy}
		}
		*p.val = out
	}
	if m.BaseURL != "" {
		if problem, remedy := webURL(&node{text: m.BaseURL}); problem != "" {
			return Model{}, &Error{Key: "models.base_url", Problem: problem, Remedy: remedy}
		}
	}
	return m, nil
}

// ModelClearance gives the label a model may receive: its own, else that of its
// host:port, its host, or (without a base address) its provider; a model on a
// loopback address is internal like a builtin one; everything else is public.
func (c *Config) ModelClearance(m Model) string {
	if m.Clearance != "" {
		return m.Clearance
	}
	names := []string{m.Provider}
	loopback := false
	if m.BaseURL != "" {
		u, err := url.Parse(m.BaseURL)
		if err != nil {
			return "public"
		}
		host := strings.ToLower(u.Hostname())
		names = []string{strings.ToLower(u.Host), host, "[" + host + "]"}
		addr, err := netip.ParseAddr(host)
		loopback = err == nil && addr.Unmap().IsLoopback()
	}
	for _, n := range names {
		if e, ok := c.Endpoints[n]; ok && e.Clearance != "" {
			return e.Clearance
		}
	}
	if loopback {
		return "internal"
	}
	return "public"
}

// PrivateAddresses gives every host:port the operator allows although it is
// private or loopback, sorted.
func (c *Config) PrivateAddresses() []string {
	var out []string
	for _, e := range c.Endpoints {
		out = append(out, e.AllowPrivate...)
	}
	slices.Sort(out)
	return slices.Compact(out)
}
