package bench

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"sallyport/internal/label"
	"sallyport/internal/sandbox"
)

// BenchmarkLabelMeet meets labels with compartments, as BenchmarkLabelJoin joins
// them.
func BenchmarkLabelMeet(b *testing.B) {
	ls := [4]label.Label{
		label.New(label.Secret, label.Foreign, 1<<5|1), label.New(label.Internal, label.Member, 1<<5|1<<40),
		label.New(label.Confidential, label.Foreign, 0), label.New(label.Secret, label.Member, 1<<63),
	}
	least := label.Unlabelled
	for i := 0; b.Loop(); i++ {
		least = least.Meet(ls[i&3])
	}
	if least == label.Unlabelled {
		b.Fatal("no meet happened")
	}
}

// BenchmarkFolderOpen shows a labelled folder in a running sandbox, which is
// what a session waits for once the gate has raised its label.
func BenchmarkFolderOpen(b *testing.B) {
	const folders = 16
	var took samples
	for b.Loop() {
		spec := workspace(b)
		for i := range folders {
			dir := b.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "plan.txt"), []byte("plan\n"), 0o600); err != nil {
				b.Fatal(err)
			}
			spec.Folders = append(spec.Folders, sandbox.Folder{Name: fmt.Sprintf("f%d", i), Host: dir, View: fmt.Sprintf("/folders/f%d", i), Notice: "closed\n"})
		}
		sb, err := sandbox.Start(b.Context(), spec)
		if err != nil {
			b.Fatal(err)
		}
		for _, f := range spec.Folders {
			start := time.Now()
			if err := sb.OpenFolder(b.Context(), f.Name); err != nil {
				b.Fatal(err)
			}
			took.since(start)
		}
		if err := sb.Close(); err != nil {
			b.Fatal(err)
		}
	}
	took.report(b, "", time.Microsecond)
}

// hello is a Go program that does nothing, the least that a start can cost.
func hello(b *testing.B) string {
	b.Helper()
	dir := b.TempDir()
	src, bin := filepath.Join(dir, "main.go"), filepath.Join(dir, "hello")
	if err := os.WriteFile(src, []byte("package main\n\nimport \"os\"\n\nfunc main() { os.Stdout.WriteString(\"hello\\n\") }\n"), 0o600); err != nil {
		b.Fatal(err)
	}
	if out, err := exec.Command("go", "build", "-o", bin, src).CombinedOutput(); err != nil {
		b.Fatalf("%v: %s", err, out)
	}
	return bin
}

// BenchmarkColdStart starts the program for commands that do little, in turns
// with a Go program that does nothing. The processor's time is what to compare
// on a machine that is shared.
func BenchmarkColdStart(b *testing.B) {
	bin, least := binary(b), hello(b)
	home := filepath.Join(b.TempDir(), "state")
	firstPrompt(b, bin, worker(b), home)
	run := func(cpu, wall *samples, path string, args ...string) {
		c := exec.Command(path, args...)
		c.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + filepath.Dir(home), "SALLYPORT_HOME=" + home}
		start := time.Now()
		if out, err := c.CombinedOutput(); err != nil {
			b.Fatalf("%v: %s", err, out)
		}
		wall.since(start)
		u, ok := c.ProcessState.SysUsage().(*syscall.Rusage)
		if !ok {
			b.Fatal("no usage of the process")
		}
		*cpu = append(*cpu, time.Duration(u.Utime.Nano()+u.Stime.Nano()))
	}
	for _, args := range [][]string{{"version"}, {"status"}, {"policy", "show"}} {
		b.Run(args[0], func(b *testing.B) {
			var cpu, wall, leastCPU, leastWall samples
			for b.Loop() {
				run(&cpu, &wall, bin, args...)
				run(&leastCPU, &leastWall, least)
			}
			wall.report(b, "", time.Millisecond)
			b.ReportMetric(float64(cpu.at(.5))/1e6, "cpu-p50-ms")
			b.ReportMetric(float64(cpu.at(0))/1e6, "cpu-min-ms")
			ratio(b, "x-hello-cpu", cpu, leastCPU)
		})
	}
}
