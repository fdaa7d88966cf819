package changes

import (
	"path"
	"slices"
	"strings"
	"unicode"
)

// Protection is a glob of paths that are committed only when named one by one,
// because something on the host acts on their content by itself.
//
// A glob is matched at any depth, against folded names (case, invisible runes
// and trailing dots do not hide a name). "**" stands for any number of
// components, other components are as in path.Match.
type Protection struct {
	Glob   string
	Reason string // what acts on it: "git runs it"
}

// Shipped are the protections every Set has.
func Shipped() []Protection {
	const (
		git    = "git acts on it at the next command"
		shell  = "a shell runs it at its start"
		editor = "an editor runs tasks from it"
		agent  = "a coding agent obeys it"
		ci     = "a build server runs it with its own rights"
		pkg    = "a package manager takes registries and commands from it"
		hook   = "it runs at the next commit"
	)
	list := func(reason string, globs ...string) []Protection {
		out := make([]Protection, len(globs))
		for i, g := range globs {
			out[i] = Protection{g, reason}
		}
		return out
	}
	return slices.Concat(
		list(git, ".git/hooks/**", ".git/config*", ".git/info/attributes", ".git/modules/**/hooks/**", ".git/modules/**/config*",
			".git/worktrees/**/config*",
			".git/worktrees/**/commondir", ".git/worktrees/**/gitdir", ".git/objects/info/alternates", ".git/commondir",
			".git/rebase-merge/**", ".git/rebase-apply/**", ".git/sequencer/**", ".git/info/grafts", ".git/refs/replace/**", ".gitmodules", ".gitattributes", ".gitconfig"),
		list(shell, ".bashrc", ".bash_profile", ".bash_login", ".bash_logout", ".profile", ".zshrc", ".zprofile", ".zshenv", ".zlogin", ".zlogout", ".bash_aliases", ".inputrc", ".config/fish/**", ".envrc", ".mise.toml", "mise.toml", ".tmux.conf", ".ssh/**"),
		list(editor, ".vscode/**", ".idea/**", ".devcontainer/**", ".devcontainer.json", "*.code-workspace", ".exrc", ".nvimrc", ".nvim.lua", ".dir-locals.el", ".zed/**", ".gdbinit", ".lldbinit"),
		list(agent, ".claude/**", "CLAUDE.md", "CLAUDE.local.md", ".mcp.json", ".codex/**", "AGENTS.md", ".gemini/**", "GEMINI.md",
			".cursor/**", ".cursorrules", ".github/copilot-instructions.md", ".github/instructions/**", ".github/prompts/**",
			".windsurf/**", ".windsurfrules", ".clinerules/**", ".clinerules", ".roo/**", ".continue/**", ".opencode/**", "opencode.json*", ".aider.conf.yml", ".kiro/**"),
		list(ci, ".github/workflows/**", ".github/actions/**", ".gitlab-ci.yml", "Jenkinsfile", ".circleci/**", "azure-pipelines.yml",
			".gitea/workflows/**", ".forgejo/workflows/**", ".buildkite/**", ".woodpecker/**", ".woodpecker.y*ml", ".drone.yml", ".travis.yml", "bitbucket-pipelines.yml"),
		list(hook, ".pre-commit-config.yaml", ".husky/**", "lefthook.y*ml", ".lefthook.y*ml", "lefthook-local.y*ml", ".overcommit.yml"),
		list(pkg, ".npmrc", ".yarnrc*", ".yarn/**", "pip.conf", ".pypirc", ".cargo/config*", ".pnpmfile.*js", "bunfig.toml", "rust-toolchain*"),
	)
}

// guard matches paths against protections.
type guard struct {
	globs []glob
}

type glob struct {
	parts []string
	why   string
}

func newGuard(list []Protection) guard {
	var g guard
	for _, p := range list {
		why := p.Glob
		if p.Reason != "" {
			why += ": " + p.Reason
		}
		g.globs = append(g.globs, glob{parts: strings.Split(fold(p.Glob), "/"), why: why})
	}
	return g
}

// match gives the protection of an entry of the given type, "" if it has none.
// A link also stands for everything that could be reached through it: a link
// named .github holds workflows as well as a directory does.
// under is what the path lies beneath, as far as it matters, see [underOf].
func (g guard) match(under, raw, typ string) string {
	if !plain(raw) {
		return "a name with invisible characters: it may pass for another"
	}
	parts := strings.Split(fold(path.Join(under, raw)), "/")
	for _, p := range g.globs {
		for i := range parts {
			if matchParts(p.parts, parts[i:], typ == TypeLink) {
				return p.why
			}
		}
	}
	if name := parts[len(parts)-1]; typ != TypeDir && (name == ".git" || strings.HasPrefix(name, "git~")) {
		return ".git: git takes its directory from it"
	}
	return ""
}

// matchParts matches name to pattern, both split at slashes. If ancestors is
// true, a name that a matching path could begin with matches too.
func matchParts(pattern, name []string, ancestors bool) bool {
	switch {
	case len(name) == 0:
		return ancestors || len(pattern) == 0
	case len(pattern) == 0:
		return false
	case pattern[0] == "**":
		if len(pattern) == 1 {
			return true
		}
		for i := range len(name) + 1 {
			if matchParts(pattern[1:], name[i:], ancestors) {
				return true
			}
		}
		return false
	}
	ok, err := path.Match(pattern[0], name[0])
	return err == nil && ok && matchParts(pattern[1:], name[1:], ancestors)
}

// fold reduces a path to what lenient file systems and readers see.
func fold(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.In(r, unicode.Cf, unicode.Variation_Selector) {
			return -1
		}
		return r
	}, strings.ToLower(strings.ToUpper(s)))
	parts := strings.Split(s, "/")
	for i, p := range parts {
		parts[i] = strings.TrimRight(p, ". ")
	}
	return strings.Join(parts, "/")
}

// underOf gives the end of a Set's own directory that its paths are judged with:
// what lies in a repository's .git, which is a Set of its own for a worktree, is
// git's business whether or not its path says so. git tells that the directory
// is a repository without a working tree, whatever its name.
func underOf(dir string, git bool) string {
	parts := strings.Split(strings.Trim(dir, "/"), "/")
	for i, part := range slices.Backward(parts) {
		if fold(part) == ".git" {
			return strings.Join(parts[i:], "/")
		}
	}
	if git {
		return ".git"
	}
	return strings.Join(parts[max(len(parts)-2, 0):], "/")
}

// groupOf tells the changes that are committed together without being read one
// by one: git's objects, refs, index and logs.
func groupOf(under, raw string) string {
	_, rest, ok := strings.Cut("/"+path.Join(under, raw), "/.git/")
	if !ok {
		return ""
	}
	first, _, _ := strings.Cut(rest, "/")
	switch first {
	case "objects", "refs", "logs", "index", "HEAD", "ORIG_HEAD", "FETCH_HEAD", "COMMIT_EDITMSG", "packed-refs":
		return GroupGit
	}
	return ""
}
