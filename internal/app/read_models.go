package app

import (
	"maps"
	"slices"

	"sallyport/internal/config"
)

// ModelInfo is what one model name stands for.
type ModelInfo struct {
	Name      string        `json:"name"`
	Provider  string        `json:"provider"`
	Model     string        `json:"model"`
	BaseURL   string        `json:"base_url,omitempty"`
	KeyEnv    string        `json:"key_env,omitempty"`
	KeySet    bool          `json:"key_set"`   // the variable is set; its value is never shown
	Price     *config.Price `json:"price"`     // US dollars per million tokens; null: unknown
	Clearance string        `json:"clearance"` // the highest label it may receive
}

// Models lists the model names of the configuration and the shipped ones.
func (a *App) Models() []ModelInfo {
	out := []ModelInfo{}
	for _, name := range slices.Sorted(maps.Keys(a.Config.Models)) {
		m, err := a.Config.ResolveModel(name)
		if err != nil {
			continue // the name comes from the map itself
		}
		info := ModelInfo{
			Name: name, Provider: m.Provider, Model: m.Model, BaseURL: m.BaseURL, KeyEnv: m.KeyEnv,
			Price: m.Price, Clearance: a.Config.ModelClearance(m),
		}
		if m.KeyEnv != "" {
			v, _ := a.Env.Lookup(m.KeyEnv)
			info.KeySet = v != ""
		}
		out = append(out, info)
	}
	return out
}
