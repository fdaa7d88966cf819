package store

import (
	"io/fs"
	"strings"
	"syscall"
	"testing"

	"sallyport/internal/fault"
)

// What the file system refuses beside the database is said in the same words.
func TestUnavailableFiles(t *testing.T) {
	for _, tt := range []struct {
		err  syscall.Errno
		says string
	}{
		{syscall.EROFS, "cannot be written"},
		{syscall.EACCES, "cannot be written"},
		{syscall.ENOSPC, "is full"},
		{syscall.EDQUOT, "is full"},
	} {
		err := unavailable("store.open", &fs.PathError{Op: "open", Path: "state.db", Err: tt.err})
		if !fault.Is(err, fault.Unavailable) || !strings.Contains(fault.PublicText(err), tt.says) {
			t.Errorf("%v: %v", tt.err, err)
		}
	}
}
