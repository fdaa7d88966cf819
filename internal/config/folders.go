package config

import (
	"fmt"
	"path/filepath"
	"strings"
)

// folders keeps a labelled directory behind its label: nothing else of the
// configuration may show it, and no two labels may lie on one file.
func (c *orgCheck) folders() {
	e := c.root.get("folders")
	if e == nil {
		return
	}
	for i, sub := range e.val.entries {
		f, key := c.Folders[sub.key], "folders."+sub.key
		c.folderAgents(sub.val, f, key)
		for _, other := range e.val.entries[:i] {
			g := c.Folders[other.key]
			switch {
			case overlap(f.Path, g.Path):
				c.add(sub.val.get("path").val, key+".path", fmt.Sprintf("lies in, above or at the folder %s (%s), so files would have two labels", other.key, g.Path), "give each directory one label")
			case overlap(f.place(), g.place()):
				c.add(sub.val, key, fmt.Sprintf("appears in sessions at %s, where the folder %s is", f.place(), other.key), "give one of them another at:")
			}
		}
		for _, dir := range c.Security.AllowedFilePaths {
			if overlap(f.Path, dir) {
				c.add(sub.val.get("path").val, key+".path", fmt.Sprintf("is given to agents without its label by security.allowed_file_paths (%s)", dir), "take that directory out there, or keep the folder elsewhere")
			}
		}
		for _, name := range sortedKeys(c.Profiles) {
			for _, m := range c.Profiles[name].Mounts {
				if filepath.IsAbs(m.Path) && overlap(f.Path, m.Path) { // others are known only when a session starts
					c.add(sub.val.get("path").val, key+".path", fmt.Sprintf("is shown without its label by a mount of the profile %s (%s)", name, m.Path), "take the mount out of the profile, or keep the folder elsewhere")
				}
			}
		}
	}
}

func (c *orgCheck) folderAgents(n *node, f Folder, key string) {
	for i, name := range f.Agents {
		item, key := n.get("agents").val.items[i], fmt.Sprintf("%s.agents[%d]", key, i)
		if _, ok := c.Agents[name]; !ok {
			c.add(item, key, fmt.Sprintf("the agent %q has no settings", short(name)), c.oneOf(name, sortedKeys(c.Agents), "add it under agents:, with its clearance"))
			continue
		}
		if cleared := labelOf(c.Agent(name).Clearance); !labelOf(f.Label).ConfFlowsTo(cleared) {
			c.add(item, key, fmt.Sprintf("%s is cleared for %s, and the folder is %s", name, c.Scheme().Format(cleared), c.Shown(f.Label)),
				"raise agents."+name+".clearance, or take it out of the list")
		}
	}
}

// place gives where sessions find a folder.
func (f Folder) place() string {
	if f.At != "" {
		return f.At
	}
	return f.Path
}

// overlap reports two directories of which one is, or lies below, the other.
func overlap(a, b string) bool {
	a, b = filepath.Clean(a)+"/", filepath.Clean(b)+"/"
	if a == "//" || b == "//" {
		return true
	}
	return strings.HasPrefix(a, b) || strings.HasPrefix(b, a)
}
