//go:build unix

package app

import (
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// ownerOf tells the user who owns a file.
func ownerOf(info fs.FileInfo) (uid int, ok bool) {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, false
	}
	return int(st.Uid), true
}

// openRegular opens a regular file for reading without following a link or
// waiting for the other end of a pipe.
func openRegular(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && info.Mode().IsRegular() {
		return f, nil
	}
	_ = f.Close() // opened for reading
	if err == nil {
		err = fmt.Errorf("%s is not a regular file", path)
	}
	return nil, err
}
