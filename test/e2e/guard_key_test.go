package e2e

import "testing"

// TestGuardEndedByKey: the person ends the program with a key that the help
// names; that is the program's end, not a failure of the sandbox.
func TestGuardEndedByKey(t *testing.T) {
	t.Parallel()
	m := marker(47)
	l := newLab(t)
	k := l.sit("guard", "--workdir", l.workdir(), "--", "bash", "--norc", "-c", "trap '' HUP TERM INT; echo begun; sleep "+m)
	k.sees("begun")
	k.types(prefixKey + "?")
	k.sees("k ends the program")
	k.types(prefixKey + "k")
	k.sees("the program was ended at the terminal")
	if r := k.wait(patience); r.code != 137 {
		t.Errorf("exit %d", r.code)
	}
	l.verify()
}
