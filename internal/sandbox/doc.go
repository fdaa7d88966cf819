// Package sandbox runs commands of an agent that is not trusted, bounded by the
// kernel, and gives back what they printed.
//
// It may be imported by app and cli only. It imports fault and the system call
// package. It and no other room starts processes or makes raw system calls.
//
// # Processes
//
// Three kinds of process take part. The supervisor is the program itself. The
// stage is the same program, re-executed under another name (MaybeInit), in new
// namespaces; it builds the view, forks payloads and reaps them. In the
// workspace view it is process 1 of its PID namespace, so that its end is the
// end of everything; elsewhere it is the reaper of all its orphans and ends
// them when the supervisor's end of the control socket closes. A payload is a
// bash (Shell), a program (Exec), or what either starts.
//
// # Order of operations
//
//  1. The supervisor checks the Spec and resolves every path. As root it makes
//     id-mapped mounts of the writable directories, which only it can.
//  2. It makes what cgroups it can, starts the stage with an environment of its
//     own in new user, mount, IPC and UTS namespaces (and PID and empty network
//     namespaces for the workspace view), and puts it into the cgroups.
//  3. The stage marks every descriptor close-on-exec, becomes non-dumpable, opens
//     each source without following links, and builds the view from descriptors.
//  4. An ordinary user's stage executes itself again: only exec takes the
//     namespace's capabilities from every thread. Root's changes its uid.
//  5. One locked thread drops capabilities and the bounding set, sets
//     no_new_privs, enters Landlock and loads the seccomp filter. Payloads are
//     forked from that thread alone: between fork and exec nothing is freer.
//  6. A payload is forked in a session of its own; the child sets its resource
//     limits, takes its terminal and executes. There is no moment at which the
//     program runs without its limits.
//
// # Terminals
//
// A program's terminal is made by the stage in the view's own devpts and belongs
// to the payload's user; only its master leaves, to the supervisor. The program
// is the terminal's session leader, so that job control works, and what could be
// pushed into a terminal reaches the sandbox itself at most. The landlock tier
// has no devpts of its own: there the supervisor makes the terminal in the
// host's, and no other terminal is granted, for some belong to the same user.
//
// # What may be executed
//
// Everything the view shows and everything a payload writes: its directories,
// /tmp and memory files are not noexec, because builds execute what they make.
// No rule rests on which program runs; all are held by the same limits.
//
// # The auditor's view
//
// The host's file tree read-only, with its owners and modes; the host's network
// namespace, for ss and ip, without the system calls to connect or listen; the
// host's process numbers, because ps asks for its own and fails in a PID
// namespace that its /proc does not belong to. What a PID namespace would have
// given comes from elsewhere: Landlock (ABI 6) confines signals, it and the user
// namespace confine tracing and with it environ, mem and fd of host processes,
// seccomp confines limits and priorities to the caller, and whatever survives
// the stage is found by its user namespace and its cgroups. Below ABI 6 the
// payload gets a PID namespace of its own and the Report says that ps suffers.
//
// Secrets are covered by empty files of the same owner and mode. As root the
// payload has a uid of its own and CAP_DAC_READ_SEARCH, which reads and changes
// nothing; as an ordinary user it has that user's rights to read, groups
// included, and what that user cannot read is not covered, only unreadable.
// /tmp, /dev/shm and /run are private; of the host's /run the records of logins,
// the volatile journal and the marks of a pending reboot are shown.
//
// # The files of a workspace
//
// A minimal read-only system, private temporary directories, what the Spec
// mounts read-only or makes for this sandbox, and the writable directories. A
// mount out of a private directory (a home) is id-mapped for root's payload, so
// that the owner's files can be read; out of an open one it is as others see it.
//
// An Overlay's directory is overlayfs, mounted in the sandbox's own user
// namespace: the host's directory below, id-mapped as root, and Store/upper
// above. Overlayfs is asked for nothing that a review could not read: no index,
// no redirects, no copies of metadata alone. Nothing of the host's directory is
// written, not even a mountpoint: those lie in a layer of their own. Where
// overlayfs is refused the directory is copied whole into Store/copy, and
// Store/base.jsonl says what was copied; without mounts the payload works at
// the copy's own path. The store is private, lies in no writable directory, and
// is watched: a sandbox that fills it is ended (Sandbox.Ended).
//
// A Pinned path is mounted over itself read-only, and every directory between
// it and the writable directory over itself as it is: a mountpoint is renamed
// or removed by nobody, so .git cannot be put aside and made again. The same
// holds the way to hidden and copy-on-write directories inside a directory that
// is written directly. A pinned path that does not exist is not made: beneath
// an overlay whoever commits refuses it, elsewhere the Report names it.
//
// # Folders
//
// A Folder's content is in no view before OpenFolder: an empty directory covers
// it wherever it would show. A detached copy of its mounts waits in the
// supervisor alone, together with descriptors of the sandbox's namespaces and of
// the mount that stands at its place; no process inside holds any of them. To
// open it, a child of the supervisor's enters the namespaces and moves the copy
// onto that mount (enter_linux.go). All processes inside share the namespace and
// see it at once; Landlock's rule for reading the whole view covers it, because
// the kernel looks for rules along the way up, mounts included. What a folder
// shows is read-only and not executed. It stays open as long as the sandbox.
// Programs inside ask by a FIFO, whose reading end the supervisor holds.
//
// Not covered: other names of the same files, which hard links and mounts of the
// host can give them outside of the folder.
//
// # The network of a workspace
//
// The network namespace is empty, and with NetworkNone it stays so: loopback
// among the sandbox's own processes. With NetworkHandoff every address, IPv4 and
// IPv6, is made local to it, and the stage, while it still may, opens listeners
// there and passes them to the supervisor. A connection of the payload to
// whatever address and port ends in the supervisor's hands, with the address it
// was meant for; the supervisor alone decides what becomes of it. There is no
// route out, no process and no helper inside that could be asked to make one,
// and no process inside holds a listener. When the supervisor ends, nothing
// answers.
//
// A table of the kernel's packet filter diverts all TCP to one listener and all
// of port 53 to the name server's; addresses are not rewritten (see
// nft_linux.go for why). Loopback destinations stay inside, so that the payload
// can use servers of its own. UDP to any other port is answered "connection
// refused", as by a machine where nobody listens; raw, ICMP and other sockets
// cannot be made. Where the kernel takes no such table the ports 22, 80 and 443
// are listened at instead, others are refused, and the Report says so.
//
// Names come from /etc/hosts with the loopback alone and from the supervisor's
// name server at 127.0.0.1. Files the Spec gives for these take precedence.
//
// AF_UNIX sockets are refused unless Spec.Sockets or Spec.LocalSockets asks for
// them, and then of the stream type only. Of the host's socket files the payload
// can reach those listed; others in directories shown directly are covered at
// the start, and behind copy-on-write none can be reached.
//
// # Invariants
//
//   - A payload never has uid 0, nor a capability that changes anything.
//   - No environment variable, descriptor or terminal of the supervisor reaches it.
//   - No weaker tier is entered unless the Spec allows it, and the Report says which.
//   - The stage ends when the supervisor does, however that ends, and with it
//     everything below it.
//   - What a payload prints cannot be taken for the end of a command. The shell
//     process is the agent's: it can lie about its own exit status, and about
//     nothing else.
//   - Memory for output, frames and state is bounded whatever a payload writes.
//
// Absent on purpose: a way to run without a sandbox, a way to add rights to a
// running one, a connection to the network that the supervisor does not make.
package sandbox
