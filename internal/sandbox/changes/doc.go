// Package changes reviews, commits and discards what a sandboxed session wrote
// copy-on-write, instead of into the project.
//
// A Set is one such directory of the host (Meta.Dir) together with the Store
// that took its changes. List says what differs, Diff shows it, Commit carries
// chosen changes to the host, Discard drops them. A Store holds:
//
//	meta.json   what this is; owned by this package
//	lock        held by the living session, then by whoever commits
//	journal     what a commit was about to do, one JSON line each
//	upper work  overlay mode: overlayfs with userxattr; made by the sandbox
//	copy        copy mode: a whole private copy of Dir; made by the sandbox
//	base.jsonl  copy mode: what was copied; made by the sandbox, then appended to
//	trash       discarded entries on their way out
//
// # What is not trusted
//
// Everything below upper and copy was written by the agent: names, contents,
// modes, links, attributes, and their change at any time while a session lives.
// Nothing of it is followed, executed or printed unescaped. The host's tree is
// trusted to be the user's, and may change while a commit runs.
//
// # Invariants
//
//   - Every path is opened with openat2 beneath a descriptor of Dir, upper or
//     copy, without symbolic links, magic links or crossing a mount.
//   - Dir is the directory it was when the session began (device and inode), or
//     nothing is listed and nothing committed.
//   - What is written is what was listed: a Change is computed again when it is
//     committed and must be equal, and the bytes are hashed while they are copied.
//   - A file of the host is whole at any time: its new content is written beside
//     it, flushed, and renamed into place. A directory goes or is replaced by
//     renaming, before its content is removed.
//   - A commit that was killed leaves only files that its journal names; the next
//     one removes them before it does anything.
//   - Set-id bits, devices, sockets, pipes and links that leave Dir are never
//     committed, and protected paths only when they are named one by one.
//   - No program is started: neither git nor anything else.
//
// # What is not carried over
//
// Owners (new entries get the owner of their directory, files that existed keep
// theirs), times (a committed file is new, so that build tools see it), extended
// attributes and ACLs that the agent set (a modified file keeps those of the file
// it replaces), and hard links (each name gets a file of its own).
//
// # Memory
//
// Walk keeps one directory's names at a time in overlay mode; in copy mode the
// record of what was copied is kept in memory. List keeps every Change.
//
// It may be imported by app. It imports fault, the system call package and the
// unified diff.
package changes
