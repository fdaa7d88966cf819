package app

import "golang.org/x/sys/unix"

// freeOf gives the bytes that are left to us on the file system of dir.
func freeOf(dir string) (uint64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, err
	}
	return st.Bavail * uint64(st.Bsize), nil //nolint:gosec // a block has a positive size
}
