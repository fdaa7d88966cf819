package changes

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestKilledCommit kills a committing process at random points. At each of them
// every file of the host is whole, old or new; going on finishes, leaves no
// litter, and gives the tree that an undisturbed commit gives.
func TestKilledCommit(t *testing.T) {
	const setup = `
for i in $(seq 60); do mkdir -p d$((i%7)); head -c 20000 /dev/zero | tr '\0' o > d$((i%7))/f$i; done
mkdir -p gone/deep/er; for i in $(seq 30); do echo $i > gone/deep/er/$i; done
mkdir swap; echo 1 > swap/1; echo 2 > back`
	const script = `
for i in $(seq 60); do head -c 30000 /dev/zero | tr '\0' n > d$((i%7))/f$i; done
for i in $(seq 40); do mkdir -p n$((i%5))/m; head -c 10000 /dev/zero | tr '\0' n > n$((i%5))/m/g$i; done
rm -r gone; rm -r swap; echo file > swap; rm back; mkdir back; echo in > back/in
rm -r d3; mkdir d3; echo only > d3/x; ln -s d3/x link; chmod 700 d1; chmod 600 d2/f2`
	twin := newLabIn(t, memory(), setup)
	twin.sh(twin.dir, script)
	want := snapshot(t, twin.dir)
	kills := 0
	for round := range 5 {
		l := newLabIn(t, memory(), setup)
		before := snapshot(t, l.dir)
		l.run(script)
		for range 3 {
			if killed(t, l.parent, time.Duration(rand.IntN(40_000))*time.Microsecond) {
				break
			}
			kills++
			for path, now := range snapshot(t, l.dir) {
				if strings.HasPrefix(now, "dir ") || strings.Contains(path, ".sallyport-") || now == before[path] || now == want[path] {
					continue
				}
				t.Fatalf("round %d: after a kill %s (%s) is neither old (%s) nor new (%s)", round, path, now, before[path], want[path])
			}
		}
		for n := 0; len(l.list()) > 0; n++ {
			list := l.list()
			if l.commit(list, all(list)); n > 3 {
				t.Fatalf("does not end: %v", tell(l.list()))
			}
		}
		if d := cmp.Diff(want, snapshot(t, l.dir)); d != "" {
			t.Fatalf("round %d (-want +got):\n%s", round, d)
		}
	}
	if kills < 5 {
		t.Errorf("only %d kills in the middle: the test proves little", kills)
	}
	t.Logf("%d kills", kills)
}

// killed runs a commit in another process and kills it after a while; true if it
// ended before.
func killed(t *testing.T, parent string, after time.Duration) bool {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe")
	cmd.Env = []string{"CHANGES_TEST_AS=committer", "PARENT=" + parent}
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "go\n" {
		_ = cmd.Wait()
		t.Fatal(fmt.Errorf("committer said %q: %w", line, err))
	}
	timer := time.AfterFunc(after, func() { _ = cmd.Process.Kill() })
	err = cmd.Wait()
	timer.Stop()
	if err != nil && !strings.Contains(err.Error(), "signal: killed") {
		t.Fatal(err)
	}
	return err == nil
}
