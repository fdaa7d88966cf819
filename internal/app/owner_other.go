//go:build !unix

package app

import (
	"io/fs"
	"os"
)

// ownerOf cannot tell here.
func ownerOf(fs.FileInfo) (uid int, ok bool) { return 0, false }

// openRegular opens a file for reading.
func openRegular(path string) (*os.File, error) { return os.Open(path) }
