package sandbox

import (
	"bufio"
	"fmt"
	"io"
	"os"
)

// payloadMapped checks that a supervisor that is root can give the payload a
// user of its own. In a user namespace that maps few numbers, as a rootless
// container's does, it cannot. A map that cannot be read is the kernel's to
// refuse later.
func payloadMapped() error {
	for _, path := range []string{"/proc/self/uid_map", "/proc/self/gid_map"} {
		f, err := os.Open(path)
		if err != nil {
			continue
		}
		mapped := inIDMap(f, PayloadUID)
		f.Close()
		if !mapped {
			return &stepError{
				Primitive: "payload-user", Errno: "EINVAL", Fallback: true, Detail: fmt.Sprintf("%s does not map %d", path, PayloadUID),
				Remedy: fmt.Sprintf("root of this container or user namespace has no number %d to run a program as: run as an ordinary user in it, or map that number", PayloadUID),
			}
		}
	}
	return nil
}

// inIDMap reports whether a map of user or group numbers, as the kernel writes
// it, has a number inside.
func inIDMap(r io.Reader, id uint64) bool {
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		var inside, outside, count uint64
		if n, _ := fmt.Sscan(lines.Text(), &inside, &outside, &count); n == 3 && id >= inside && id-inside < count {
			return true
		}
	}
	return false
}
