package app

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

func git(t *testing.T, dir string, args ...string) {
	t.Helper()
	c := exec.CommandContext(t.Context(), "git", append([]string{"-c", "user.name=a", "-c", "user.email=a@example.org"}, args...)...)
	c.Dir = dir
	c.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "GIT_CONFIG_NOSYSTEM=1"}
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("git %v: %v\n%s", args, err, out)
	}
}

func TestCommonGitDir(t *testing.T) {
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("SKIPPED: git is not installed")
	}
	root, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	repo, tree := filepath.Join(root, "repo"), filepath.Join(root, "tree")
	git(t, root, "init", "-q", repo)
	git(t, repo, "commit", "-q", "--allow-empty", "-m", "x")
	git(t, repo, "worktree", "add", "-q", tree)
	if got := commonGitDir(tree); got != filepath.Join(repo, ".git") {
		t.Errorf("worktree: %q", got)
	}
	if got := commonGitDir(repo); got != "" {
		t.Errorf("an ordinary repository: %q", got)
	}
	// An agent that was here before writes .git files of its own.
	secret := filepath.Join(root, "secret")
	plant(t, root, map[string]string{"secret/objects/x": "", "secret/refs/x": "", "secret/commondir": ".", "secret/gitdir": "elsewhere"})
	for name, pointer := range map[string]string{
		"a directory of the host":             secret,
		"another worktree's":                  filepath.Join(repo, ".git/worktrees/tree"),
		"itself":                              "own",
		"a repository built beneath the tree": "own/worktrees/x",
	} {
		dir := filepath.Join(root, "evil-"+name)
		plant(t, dir, map[string]string{
			".git": "gitdir: " + pointer + "\n", "own/objects/x": "", "own/refs/x": "", "own/gitdir": "../.git", "own/commondir": ".",
			"own/worktrees/x/gitdir": "../../../.git", "own/worktrees/x/commondir": secret,
		})
		if got := commonGitDir(dir); got != "" {
			t.Errorf("%s: shows %q", name, got)
		}
	}
}
