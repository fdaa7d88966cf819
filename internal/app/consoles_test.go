package app

import (
	"strings"
	"testing"
)

func TestFold(t *testing.T) {
	short := strings.Repeat("line\n", foldOver)
	if got := fold(short); got != short {
		t.Errorf("%d lines were folded:\n%s", foldOver, got)
	}
	long := "first\n" + strings.Repeat("x\n", 100) + "last\n"
	got := strings.Split(fold(long), "\n")
	if len(got) != foldHead+1+foldTail || got[0] != "first" || got[len(got)-1] != "last" || !strings.Contains(got[foldHead], "93 lines more") {
		t.Errorf("folded to %q", got)
	}
}
