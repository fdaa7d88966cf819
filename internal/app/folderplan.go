package app

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"sallyport/internal/fault"
	"sallyport/internal/label"
	"sallyport/internal/sandbox"
)

// foldersFor plans the labelled folders of one agent's session: those that it is
// cleared for and that are given to it stand closed at their places, all others
// are covered wherever its view would show them.
func (a *App) foldersFor(agent, view string) ([]sandbox.Folder, error) {
	names := slices.Sorted(maps.Keys(a.Config.Folders))
	if len(names) == 0 {
		return nil, nil
	}
	clearance, err := a.scheme().Parse(a.Config.Agent(agent).Clearance)
	if err != nil {
		return nil, fault.Wrap("app.folders", fault.Config, err)
	}
	var out []sandbox.Folder
	for _, name := range names {
		f := a.Config.Folders[name]
		l, err := a.scheme().Parse(f.Label)
		if err != nil {
			return nil, fault.Wrap("app.folders", fault.Config, fmt.Errorf("folders.%s.label: %w", name, err))
		}
		box := sandbox.Folder{Name: name, Host: f.Path}
		if l.ConfFlowsTo(clearance) && (len(f.Agents) == 0 || slices.Contains(f.Agents, agent)) {
			box.View = cmp.Or(f.At, f.Path)
			if view == sandbox.ViewAuditor {
				box.View = f.Path // where the host has it, that view shows it
			}
			box.Notice = closedNotice(name, a.scheme().Format(l))
		}
		out = append(out, box)
	}
	return out, nil
}

// closedNotice says what stands where, and how it is opened.
func closedNotice(name, shown string) string {
	return fmt.Sprintf("This folder is labelled %s and is closed: opening it raises this session to that label for good, and cuts it off from whatever may not hear so much.\n"+
		"To open it, run `echo %s > %s` and read %s for the answer.\n", shown, name, sandbox.FolderRequests, sandbox.FolderAnswer)
}

// FolderInfo is one labelled folder as the operator sees it.
type FolderInfo struct {
	Name   string   `json:"name"`
	Path   string   `json:"path"`
	Label  string   `json:"label"`
	At     string   `json:"at"`               // where sessions find it
	Agents []string `json:"agents,omitempty"` // empty: all that are cleared
}

// Folders lists the labelled folders by name.
func (a *App) Folders() []FolderInfo {
	out := []FolderInfo{}
	for _, name := range slices.Sorted(maps.Keys(a.Config.Folders)) {
		f := a.Config.Folders[name]
		shown := f.Label
		if l, err := a.scheme().Parse(f.Label); err == nil {
			shown = a.scheme().Format(l)
		}
		out = append(out, FolderInfo{Name: name, Path: f.Path, Label: shown, At: cmp.Or(f.At, f.Path), Agents: f.Agents})
	}
	return out
}

// viewLabel is what a profile's sessions know at least; public where that
// cannot be told, so that nothing is taken for less than it is.
func (a *App) viewLabel(profile string) label.Label {
	p, err := a.Config.Profile(profile)
	if err != nil {
		return label.Label{}
	}
	l, err := a.scheme().Parse(p.ViewLabel)
	if err != nil {
		return label.Label{}
	}
	return l
}
