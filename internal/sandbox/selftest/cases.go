package selftest

// Cases is the table of known attacks, in order.
func Cases() []Case {
	return []Case{
		{1, "symlink to outside", "open a link in the working directory that leads out of it", "view of its own, Landlock on the resolved file", []Probe{
			{Name: "symlink-read", Want: "ENOENT|EACCES"}, {Name: "symlink-write", Want: "ENOENT|EACCES"},
		}},
		{2, "symlink swapped in during set-up", "exchange a protected directory and a link while the sandbox starts", "openat2 without links, mounts by descriptor", []Probe{
			{Name: "swap-during-start", Want: "contained"},
		}},
		{3, "link followed at commit", "replace a file by a link and write through it", "view of its own; openat2 beneath at commit", []Probe{
			{Name: "link-instead-of-file", Want: "ENOENT|EACCES"},
		}},
		{4, "hard link to outside", "link an outside file into the working directory", "separate mount, Landlock", []Probe{
			{Name: "hard-link", Want: "ENOENT|EXDEV|EACCES"}, {Name: "hard-link-system", Want: "EXDEV|EACCES|EPERM"},
		}},
		{5, "git hooks and configuration", "write a hook, append to .git/config", "pinned read-only; in the landlock tier copied", []Probe{
			{Name: "write-hook", Want: "EROFS|contained"}, {Name: "append-git-config", Want: "EROFS|contained"},
		}},
		{6, "exchange of .git", "rename .git away and make another", "every ancestor is a mount point; in the landlock tier copied", []Probe{
			{Name: "rename-git", Want: "EBUSY|contained"},
		}},
		{7, "programs named in git's configuration", "replace .git/config by one that names a program", "pinned; git is never run on an agent's configuration", []Probe{
			{Name: "replace-git-config", Want: "EBUSY|contained"},
		}},
		{8, "common directory of a worktree", "write a hook into the directory that .git points to", "it is not in the view unless the caller shows it", []Probe{
			{Name: "common-dir-hook", Want: "ENOENT|EACCES"},
		}},
		{9, "start-up files absent at first", "make a .bashrc where there is none", "copy-on-write, refused at commit", []Probe{
			{Name: "absent-dotfile", Want: "contained"},
		}},
		{10, "linked credential", "read a masked file through a link and through /proc/self/root", "default-deny reads on the resolved file", []Probe{
			{Name: "linked-credential", Want: "ENOENT|EACCES"},
			{Name: "credential-by-proc-root", Want: "ENOENT|EACCES"},
			{Name: "stat-outside", Want: "ENOENT"},
			{Name: "chmod-outside", Want: "ENOENT|EPERM"},
		}},
		{11, "/proc of a host process", "read its root, environment, descriptors, command line", "PID namespace, Landlock", []Probe{
			{Name: "proc-root", Want: "ENOENT|EACCES|other"},
			{Name: "proc-environ", Want: "ENOENT|EACCES|other"},
			{Name: "proc-fd", Want: "ENOENT|EACCES|other"},
			{Name: "proc-cmdline", Want: "ENOENT|other"},
		}},
		{12, "memory of an unfiltered process", "open mem of process 1, of the parent, of a host process", "non-dumpable stage without capabilities", []Probe{
			{Name: "process-memory", Want: "EACCES|ENOENT|EPERM"},
		}},
		{13, "tracing", "ptrace, process_vm_readv, pidfd_getfd", "seccomp, PID namespace", []Probe{
			{Name: "ptrace", Want: "EPERM"}, {Name: "process-vm-readv", Want: "EPERM"}, {Name: "pidfd-getfd", Want: "EPERM|ESRCH"},
		}},
		{14, "io_uring", "make a ring, whose operations no filter sees", "seccomp", []Probe{{Name: "io-uring", Want: "EPERM"}}},
		{15, "other system call numbers", "x32 numbers, int 0x80", "architecture check in the filter", []Probe{
			{Name: "x32", Want: "ENOSYS"}, {Name: "int-0x80", Want: "SIGSYS"},
		}},
		{16, "service sockets", "connect to a stream socket by path", "AF_UNIX denied, private /run and /tmp", []Probe{{Name: "unix-stream", Want: "EPERM"}}},
		{17, "datagram sockets", "send to a socket by path, from a socket and from a pair", "seccomp", []Probe{
			{Name: "unix-datagram", Want: "EPERM"}, {Name: "datagram-pair", Want: "EPERM"},
		}},
		{18, "abstract sockets", "connect to an abstract name", "seccomp, network namespace, Landlock scope", []Probe{{Name: "unix-abstract", Want: "EPERM"}}},
		{19, "terminal injection", "TIOCSTI, with high bits too, TIOCLINUX, line disciplines", "own terminal, seccomp on the low 32 bits", []Probe{
			{Name: "tiocsti", Want: "EPERM"}, {Name: "tiocsti-high-bits", Want: "EPERM"}, {Name: "tioclinux", Want: "EPERM"}, {Name: "tiocsetd", Want: "EPERM"},
		}},
		{20, "exfiltration by DNS", "ask a resolver by UDP", "empty network namespace, no resolver inside", []Probe{{Name: "udp-question", Want: "ECONNREFUSED|EPERM|timeout|ENETUNREACH"}}},
		{21, "ignored proxy settings", "connect directly", "empty network namespace", []Probe{{Name: "tcp-direct", Want: "ECONNREFUSED|EPERM"}}},
		{22, "odd addresses", "IPv6, mapped and unspecified addresses of the same host", "no route; odd spellings of addresses are no names", []Probe{
			{Name: "tcp-ipv6", Want: "ECONNREFUSED|EPERM|EADDRNOTAVAIL|ENETUNREACH"},
			{Name: "tcp-mapped", Want: "ECONNREFUSED|EPERM|ENETUNREACH"},
			{Name: "tcp-unspecified", Want: "ECONNREFUSED|EPERM"},
		}},
		{23, "names that resolve inwards", "connect to another loopback address", "no route; egress dials what it has checked", []Probe{{Name: "tcp-loopback-alias", Want: "ECONNREFUSED|EPERM"}}},
		{24, "redirect inwards", "follow a redirect to another port", "no route; egress judges every connection", []Probe{{Name: "http-redirect", Want: "ECONNREFUSED|EPERM"}}},
		{25, "domain fronting", "name another host than the one connected to", "no route; egress compares CONNECT, SNI and Host", []Probe{{Name: "http-fronting", Want: "ECONNREFUSED|EPERM"}}},
		{26, "relay inside", "connect through another process of the sandbox", "the limit is of the namespace, not of the client", []Probe{{Name: "relay", Want: "ECONNREFUSED|EPERM"}}},
		{27, "control plane", "connect to the supervisor's own socket", "AF_UNIX denied, the state directory is not shown", []Probe{{Name: "control-socket", Want: "EPERM"}}},
		{28, "gateway to the host's loopback", "connect to the host by its own outside address", "no gateway, no route", []Probe{{Name: "tcp-host-address", Want: "ENETUNREACH|EHOSTUNREACH|ECONNREFUSED|EPERM"}}},
		{29, "MPTCP", "a protocol that TCP rules do not cover", "protocol allowlist", []Probe{{Name: "mptcp", Want: "EPERM"}}},
		{30, "TCP fast open", "connect by sending", "seccomp on send flags", []Probe{{Name: "fast-open", Want: "EPERM"}}},
		{31, "UDP", "send a datagram", "network namespace; denied in the landlock tier", []Probe{{Name: "udp-datagram", Want: "ECONNREFUSED|EPERM|timeout"}}},
		{32, "other families", "vsock, kernel events, crypto, packets", "family allowlist", []Probe{
			{Name: "vsock", Want: "EPERM"}, {Name: "uevent", Want: "EPERM"}, {Name: "af-alg", Want: "EPERM"}, {Name: "af-packet", Want: "EPERM"},
		}},
		{33, "loader variables", "find variables that the Spec does not name", "environment from a list", []Probe{{Name: "environment-names", Want: "none"}}},
		{34, "setuid program", "execute one of another user", "no_new_privs, nosuid", []Probe{{Name: "setuid", Want: "unchanged"}}},
		{35, "another user namespace", "clone, unshare, clone3", "flag filter, clone3 answers ENOSYS", []Probe{
			{Name: "clone-newuser", Want: "EPERM"}, {Name: "unshare-newuser", Want: "EPERM"}, {Name: "clone3-newuser", Want: "ENOSYS"},
		}},
		{36, "mounts", "mount, fsopen, umount", "no capabilities, seccomp", []Probe{
			{Name: "mount", Want: "EPERM"}, {Name: "fsopen", Want: "EPERM"}, {Name: "umount", Want: "EPERM"},
		}},
		{37, "chroot and file handles", "chroot, open_by_handle_at", "no capabilities, seccomp", []Probe{
			{Name: "chroot", Want: "EPERM"}, {Name: "open-by-handle", Want: "EPERM"},
		}},
		{38, "fork bomb", "start more processes than the limit", "pids cgroup, RLIMIT_NPROC", []Probe{{Name: "fork-bomb", Want: "EAGAIN"}}},
		{39, "memory bomb", "fill shared memory beyond the limit", "memory cgroup", []Probe{{Name: "shared-memory-bomb", Want: "SIGKILL|ENOMEM"}}},
		{40, "disk fill", "one large file, many bytes in /tmp", "RLIMIT_FSIZE, sized tmpfs", []Probe{
			{Name: "large-file", Want: "EFBIG"}, {Name: "fill-tmp", Want: "ENOSPC|EACCES"},
		}},
		{41, "signal to the host", "signal a host process", "PID namespace, Landlock scope", []Probe{{Name: "signal", Want: "ESRCH|EPERM|other"}}},
		{42, "daemon that stays", "leave the session and outlive the sandbox", "process 1 ends everything", []Probe{{Name: "daemon", Want: "ended"}}},
		{43, "inherited descriptors", "use an open directory and an open file of the supervisor", "every descriptor is closed on exec", []Probe{
			{Name: "inherited-directory", Want: "none"}, {Name: "inherited-file", Want: "none"},
		}},
		{44, "leaking environment", "find a value of the supervisor's environment", "environment from a list", []Probe{{Name: "environment-values", Want: "none"}}},
		{45, "core dump", "raise the core limit", "RLIMIT_CORE 0", []Probe{{Name: "core-limit", Want: "EPERM"}}},
		{46, "shared memory and queues", "open those of the host by name and by number", "IPC namespace, private /dev/shm", []Probe{
			{Name: "dev-shm", Want: "ENOENT|EACCES"}, {Name: "sysv-shm", Want: "EINVAL|EPERM|EIDRM"}, {Name: "posix-queue", Want: "ENOENT|EPERM"},
		}},
		{47, "keys", "use the session keyring, read /proc/keys", "seccomp, masked", []Probe{
			{Name: "keyctl", Want: "EPERM"}, {Name: "proc-keys", Want: "none|EACCES"},
		}},
		{48, "kernel interfaces", "bpf, perf, userfaultfd, kexec, clock", "seccomp, no capabilities", []Probe{
			{Name: "bpf", Want: "EPERM"},
			{Name: "perf", Want: "EPERM"},
			{Name: "userfaultfd", Want: "EPERM"},
			{Name: "kexec", Want: "EPERM"},
			{Name: "clock", Want: "EPERM"},
		}},
		{49, "race against notification", "change memory between check and use", "no decision reads memory: no notification is used", []Probe{{Name: "notify-listener", Want: "none"}}},
		{50, "deadlock of notification", "let the supervisor wait for itself", "no notification is used", []Probe{
			{Name: "notify-deadlock", Absent: "the filter asks nobody, so nobody can be made to wait; the probe of case 49 shows that no listener exists"},
		}},
		{51, "round an execution list", "run a copy from memory that may do more", "limits hold for every program alike", []Probe{{Name: "memfd-copy", Want: "EPERM"}}},
		{52, "own policy", "write to the state directory", "policy, log and sockets are never mounted", []Probe{{Name: "edit-policy", Want: "ENOENT|EACCES"}}},
		{53, "request to run outside", "run the stage again without a supervisor", "there is no such switch", []Probe{
			{Name: "run-outside", Absent: "no switch, request or answer runs a payload without a sandbox; a stage without its control socket only exits"},
		}},
		{54, "joining a weaker jail", "enter other namespaces", "seccomp; nothing inside holds a filter", []Probe{{Name: "setns", Want: "EPERM"}}},
	}
}
