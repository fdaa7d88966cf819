package app

import (
	"reflect"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sallyport/internal/action"
	"sallyport/internal/sandbox"
)

// TestSessionArgsCarryTheWholeSpec fills every field of a Spec that exists, so
// that one added later and forgotten here is found: what is judged and signed
// must be what is started.
func TestSessionArgsCarryTheWholeSpec(t *testing.T) {
	want := sandbox.Spec{
		View: sandbox.ViewWorkspace, MinTier: sandbox.TierLandlock, Home: "/h", Workdir: "/w", Writable: []string{"/x"},
		Masked: []string{"/m"}, Replace: map[string]string{"/etc": "/f"}, Facts: "/facts", Env: []string{"A=b"}, ReadOnly: true,
		Network: sandbox.NetworkHandoff, Mounts: []sandbox.Mount{{Host: "/a", View: "/b", Optional: true}},
		Overlays: []sandbox.Overlay{{Dir: "/w", Store: "/s"}}, Pinned: []string{"/w/.git/hooks"}, Sockets: []string{"/run/x"}, LocalSockets: true,
		Folders: []sandbox.Folder{{Name: "hr", Host: "/srv/hr", View: "/data/hr", Notice: "closed"}},
		Limits: sandbox.Limits{
			Memory: 1 << 30, Pids: 9, FileSize: 3, CPUSeconds: 4, CPUPercent: 150, Disk: 5, DiskFiles: 6, Wall: time.Second, Tmp: 7,
		},
	}
	made := map[string]bool{"Files": true} // the run's own certificates and the like, made by the executor
	for _, v := range []reflect.Value{reflect.ValueOf(want), reflect.ValueOf(want.Limits)} {
		for i := range v.NumField() {
			if f := v.Type().Field(i); f.IsExported() && v.Field(i).IsZero() && !made[f.Name] {
				t.Errorf("field %s is not filled here; carry it in the arguments", f.Name)
			}
		}
	}
	plan := sessionPlan{spec: want, shell: true, timeout: 8 * time.Second, output: 9}
	args := plan.args()
	if _, err := action.Canonical(args); err != nil {
		t.Fatalf("the arguments are no JSON: %v", err)
	}
	got, err := planOf(args)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(plan, got, cmp.Exporter(func(reflect.Type) bool { return true })); diff != "" {
		t.Error(diff)
	}
}
