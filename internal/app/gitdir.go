package app

import (
	"os"
	"path/filepath"
	"strings"
)

// maxPointer bounds the files of git that name a directory.
const maxPointer = 4096

// commonGitDir gives the repository that a linked worktree belongs to, "" if
// dir is no worktree. Whoever writes dir can write its .git file, an agent in an
// earlier run too; so the repository must name this very worktree in return,
// which nothing inside dir can bring about.
func commonGitDir(dir string) string {
	gitfile := filepath.Join(dir, ".git")
	own, ok := pointer(gitfile, "gitdir: ", dir)
	if !ok {
		return ""
	}
	back, ok := pointer(filepath.Join(own, "gitdir"), "", own)
	if !ok || back != gitfile {
		return ""
	}
	common, ok := pointer(filepath.Join(own, "commondir"), "", own)
	if !ok || filepath.Dir(filepath.Dir(own)) != common || filepath.Base(filepath.Dir(own)) != "worktrees" || within(common, dir) {
		return ""
	}
	for _, part := range []string{"objects", "refs"} {
		if info, err := os.Lstat(filepath.Join(common, part)); err != nil || !info.IsDir() {
			return ""
		}
	}
	return common
}

// pointer reads a file of one line that names a directory or file, and gives
// that without links. The line's beginning is cut off.
func pointer(file, begin, base string) (string, bool) {
	info, err := os.Lstat(file)
	if err != nil || !info.Mode().IsRegular() || info.Size() > maxPointer {
		return "", false
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return "", false
	}
	path, ok := strings.CutPrefix(strings.TrimSuffix(string(text), "\n"), begin)
	if !ok || path == "" || strings.ContainsAny(path, "\x00\n") {
		return "", false
	}
	if !filepath.IsAbs(path) {
		path = filepath.Join(base, path)
	}
	resolved, err := filepath.EvalSymlinks(path)
	return resolved, err == nil
}
