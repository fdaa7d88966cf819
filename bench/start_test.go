package bench

import (
	"bufio"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// BenchmarkFirstPrompt is the time from starting the program to the line in
// which the agent's shell shows its prompt: configuration, database, policy, the
// sandbox with its bash, and for the auditor's view what is collected about the
// host before. In a fresh state directory the database and the keys are made as
// well.
func BenchmarkFirstPrompt(b *testing.B) {
	bin := binary(b)
	for _, fresh := range []bool{false, true} {
		for _, profile := range []string{"auditor", "workspace"} {
			state := map[bool]string{false: "used", true: "fresh"}[fresh]
			b.Run("profile="+profile+"/state="+state, func(b *testing.B) {
				file := nightwatch
				if profile == "workspace" {
					file = worker(b)
				}
				used := filepath.Join(b.TempDir(), "state")
				if !fresh {
					firstPrompt(b, bin, file, used)
				}
				var took samples
				for b.Loop() {
					home := used
					if fresh {
						home = filepath.Join(b.TempDir(), "state")
					}
					took = append(took, firstPrompt(b, bin, file, home))
				}
				took.report(b, "", time.Millisecond)
			})
		}
	}
}

// worker is the shipped example's agent in the workspace view.
func worker(b *testing.B) string {
	b.Helper()
	dir := b.TempDir()
	text, err := os.ReadFile(nightwatch)
	if err != nil {
		b.Fatal(err)
	}
	file := filepath.Join(dir, "worker.yaml")
	settings := `models:
  claude3opus: {provider: builtin, model: auditor}
agents:
  sarah: {profile: workspace, clearance: internal}
profiles:
  workspace: {enable_command_execution: true}
`
	err = errors.Join(os.WriteFile(file, text, 0o600), os.WriteFile(filepath.Join(dir, "sallyport.yaml"), []byte(settings), 0o600))
	if err != nil {
		b.Fatal(err)
	}
	return file
}

// firstPrompt runs an agent file until its first prompt.
func firstPrompt(b *testing.B, bin, file, home string) time.Duration {
	b.Helper()
	c := exec.Command(bin, "run", file)
	c.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + filepath.Dir(home), "SALLYPORT_HOME=" + home}
	out, err := c.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	var said strings.Builder
	c.Stderr = &said
	start := time.Now()
	if err := c.Start(); err != nil {
		b.Fatal(err)
	}
	var took time.Duration
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if strings.Contains(lines.Text(), "@sallyport") {
			took = time.Since(start)
			break
		}
		said.WriteString(lines.Text() + "\n")
	}
	_ = c.Process.Kill() // the sandbox ends with it
	_ = c.Wait()
	if took == 0 {
		b.Skipf("SKIPPED: no prompt came: %s", said.String())
	}
	return took
}

// BenchmarkBinary is the size of what `make` builds and the number of modules
// that are linked into it.
func BenchmarkBinary(b *testing.B) {
	bin := binary(b)
	modules := 0
	for b.Loop() {
		out, err := exec.Command("go", "version", "-m", bin).Output()
		if err != nil {
			b.Fatal(err)
		}
		modules = strings.Count(string(out), "\n\tdep\t")
	}
	info, err := os.Stat(bin)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(info.Size())/1e6, "MB")
	b.ReportMetric(float64(modules), "modules")
}
