package app

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strings"

	"sallyport/internal/sandbox"
)

// accountFiles give the account that a guarded program runs as a name and its
// home: many programs look these up by number and stop without them.
func accountFiles(name, home string) []sandbox.File {
	uid, gid := os.Getuid(), os.Getgid()
	if uid == 0 {
		uid, gid = sandbox.PayloadUID, sandbox.PayloadUID
	}
	if home == "" || strings.ContainsAny(home, ":\n") {
		home = "/" // these separate fields and accounts
	}
	return []sandbox.File{
		withFirstLine("/etc/passwd", fmt.Sprintf("%s:x:%d:%d::%s:/bin/bash\n", name, uid, gid, home)),
		withFirstLine("/etc/group", fmt.Sprintf("%s:x:%d:\n", name, gid)),
	}
}

// withFirstLine gives a file of the host's with one line more, in front because
// the first match counts.
func withFirstLine(path, line string) sandbox.File {
	rest, err := os.ReadFile(path)
	if err != nil || len(rest) > maxAccounts {
		rest = nil // names of others are a convenience
	}
	return sandbox.File{Path: path, Content: slices.Concat([]byte(line), bytes.TrimLeft(rest, "\n"))}
}

// maxAccounts bounds the list of a host's accounts that is shown, in bytes.
const maxAccounts = 512 << 10
