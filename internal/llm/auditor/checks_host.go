package auditor

import "strings"

// sysctls judges "key value" lines: bad tells which values are wrong.
func sysctls(bad map[string]string) func(Output) Verdict {
	return func(o Output) Verdict {
		var v Verdict
		for _, l := range o.Data {
			k, val, _ := strings.Cut(l, " ")
			if wrong, ok := bad[k]; ok && contains(strings.Split(wrong, "|"), strings.TrimSpace(val)) {
				v.Bad = true
				v.Evidence = append(v.Evidence, k+" = "+val)
			}
		}
		return v
	}
}

// sysctlRow reads the named keys out of the collector's file.
func sysctlRow(keys ...string) string {
	return `fact sysctl && { awk -F'\t' 'index(" ` + strings.Join(keys, " ") + ` "," " $1 " "){print $1,$2}' $H/sysctl.tsv | grep . || no kernel-key; } | d`
}

func kernelCheck(id string, sev Severity, title string, bad map[string]string, fix, ref string) Check {
	return Check{ID: id, Severity: sev, Title: title, Run: sysctlRow(sortedKeys(bad)...), Parse: sysctls(bad), Fix: fix, Ref: ref}
}

func kernelChecks() []Check {
	rows := []Check{
		kernelCheck("KERN-01", Medium, "Memory addresses of programs are not random", map[string]string{"kernel.randomize_va_space": "0|1"},
			"sysctl -w kernel.randomize_va_space=2", "CIS Debian 12, 1.5.1"),
		kernelCheck("KERN-02", Low, "Kernel addresses or messages are shown to everybody", map[string]string{"kernel.kptr_restrict": "0", "kernel.dmesg_restrict": "0"},
			"Set kernel.kptr_restrict=1 and kernel.dmesg_restrict=1.", "kernel.org, sysctl/kernel"),
		kernelCheck("KERN-03", Medium, "Links in shared directories are followed", map[string]string{"fs.protected_symlinks": "0", "fs.protected_hardlinks": "0", "fs.protected_fifos": "0", "fs.protected_regular": "0"},
			"Set fs.protected_symlinks, _hardlinks, _fifos and _regular to 1 or more.", "kernel.org, sysctl/fs"),
		kernelCheck("KERN-04", Low, "Setuid programs leave core dumps", map[string]string{"fs.suid_dumpable": "1"},
			"Set fs.suid_dumpable=0.", "CIS Debian 12, 1.5.3"),
		kernelCheck("KERN-05", Low, "The network accepts redirects or source routes", map[string]string{"net.ipv4.conf.all.accept_redirects": "1", "net.ipv4.conf.all.accept_source_route": "1", "net.ipv6.conf.all.accept_redirects": "1", "net.ipv4.conf.all.send_redirects": "1"},
			"Set these keys to 0 under net.ipv4.conf.all and net.ipv6.conf.all.", "CIS Debian 12, 3.3"),
		kernelCheck("KERN-06", Low, "Unprivileged BPF or tracing of other processes is open", map[string]string{"kernel.unprivileged_bpf_disabled": "0", "kernel.yama.ptrace_scope": "0"},
			"Set kernel.unprivileged_bpf_disabled=1 and kernel.yama.ptrace_scope=1.", "kernel.org, Yama"),
		kernelCheck("KERN-07", Low, "Protection against connection floods is off", map[string]string{"net.ipv4.tcp_syncookies": "0"},
			"Set net.ipv4.tcp_syncookies=1.", "RFC 4987; CIS Debian 12, 3.3.10"),
		{
			ID: "KERN-08", Severity: High, Title: "A crash runs a program from an unusual place",
			Run: `fact sysctl && awk -F'\t' '$1=="kernel.core_pattern"&&$2~/^\|/&&$2!~/^\|\/(usr\/)?(lib|libexec|share|sbin|bin)\//{print $1,$2} $1=="kernel.modprobe"&&$2!~/^\/(usr\/)?s?bin\/modprobe$/&&$2!=""{print $1,$2}' $H/sysctl.tsv | d`, Parse: anyLine,
			Fix: "Restore kernel.core_pattern and kernel.modprobe, and find out who changed them.", Ref: "core(5)",
		},
	}
	rows[0].Core = true
	return rows
}

func firewallChecks() []Check {
	return []Check{
		{
			ID: "FW-01", Core: true, Severity: Medium, Title: "No firewall rules are loaded",
			Run: `if fact firewall; then grep -vE '^(#|$|\*|COMMIT|:.*ACCEPT)' $H/firewall.txt | grep -qE '(^-A |drop|reject|policy drop|accept)' || echo "the rule set is empty" | d
elif [ -r $H/coverage.tsv ] && awk -F'\t' '$1=="firewall"&&$2=="not-installed"{f=1} END{exit !f}' $H/coverage.tsv; then echo "neither nftables nor iptables is installed" | d; fi`, Parse: anyLine,
			Fix: "Load a rule set that drops what is not allowed (nftables or ufw).", Ref: "nft(8); CIS Debian 12, 4",
		},
		{
			ID: "FW-02", Severity: Low, Title: "The firewall lets in what no rule names",
			Run: `fact firewall && awk '/hook input/{h=1;p="accept";if(/policy drop/)p="drop";if(p!="drop")print} /^:INPUT ACCEPT/{print}' $H/firewall.txt | d`, Parse: anyLine,
			Fix: "Set the input policy to drop, after allowing SSH and what is offered.", Ref: "CIS Debian 12, 4.3.8",
		},
		{
			ID: "FW-03", Severity: Medium, Title: "ufw is installed and switched off",
			Run: `if see /etc/ufw/ufw.conf; then grep -iE '^ *ENABLED *= *"?no' /etc/ufw/ufw.conf | d; elif [ $? = 1 ]; then no ufw; fi`, Parse: anyLine,
			Fix: "ufw allow OpenSSH, then ufw enable.", Ref: "ufw(8)",
		},
	}
}

// pending grades security updates: many are worse than one.
func pending(o Output) Verdict {
	v := anyLine(o)
	if len(o.Data)+o.Skipped >= 10 {
		v.Severity = High
	}
	return v
}

func packageChecks() []Check {
	return []Check{
		{
			ID: "PKG-01", Core: true, Severity: Medium, Title: "Security updates are pending",
			Run: `fact updates && awk -F'\t' '$4=="yes"{print $1 " " $2 " -> " $3}' $H/updates.tsv | d`, Parse: pending,
			Fix: "apt update and apt upgrade, then restart what was replaced.", Ref: "Debian Reference, 2.7",
		},
		{
			ID: "PKG-02", Severity: Low, Title: "Package lists are old, so pending updates are not known",
			Run: `fact lists && awk -F'\t' '$1=="lists"{print $3 ($3==9999?" days: there are no package lists":" days since the last apt update")}' $H/coverage.tsv | d`, Parse: atLeast(14),
			Fix: "Run apt update, and let a timer do it daily.", Ref: "apt-get(8)",
		},
		{
			ID: "PKG-03", Severity: Low, Title: "Security updates are not installed by themselves",
			Run: `[ -d /etc/apt ] || { no apt; exit; }; grep -qsE '^[^/#]*Unattended-Upgrade "[1-9]' /etc/apt/apt.conf.d/* || echo "APT::Periodic::Unattended-Upgrade is not set" | d`, Parse: anyLine,
			Fix: "Install unattended-upgrades and set the value to 1.", Ref: "Debian wiki, UnattendedUpgrades",
		},
		{
			ID: "PKG-04", Severity: High, Title: "Packages are accepted without a signature",
			Run: `[ -d /etc/apt ] || { no apt; exit; }; for f in /etc/apt/sources.list /etc/apt/sources.list.d/* /etc/apt/apt.conf.d/*; do see "$f"; done; grep -HnsiE '^[^#/]*(\[[^]]*(trusted|allow-insecure) *= *yes|^ *trusted: *yes|allow-?unauthenticated"? +"?(true|1)|allowinsecurerepositories"? +"?(true|1))' /etc/apt/sources.list /etc/apt/sources.list.d/* /etc/apt/apt.conf /etc/apt/apt.conf.d/* | d`, Parse: anyLine,
			Fix: "Remove the option and add the repository's key with Signed-By.", Ref: "sources.list(5); apt-secure(8)",
		},
	}
}

func containerChecks() []Check {
	return []Check{
		{
			ID: "DOC-01", Core: true, Severity: High, Title: "The container engine's socket is open to everybody",
			Run: `fact unix && awk -F'\t' '$1~/(docker|containerd|podman|crio)[^\/]*\.sock$/&&int(substr($2,length($2))/2)%2{print $1 " (mode " $2 ", " $3 ":" $4 ")"}' $H/unix.tsv | d`, Parse: anyLine,
			Fix: "chmod 660 the socket and look at who set it; access to it is root.", Ref: "Docker manual, Post-installation; CIS Docker, 3.15-3.16",
		},
		{
			ID: "DOC-02", Core: true, Severity: Medium, Title: "Accounts can become root through the container group",
			Run: `see /etc/group && awk -F: '$1~/^(docker|podman|incus-admin)$/{f=1;if($4!="")print $1 ": " $4}' /etc/group | d; awk -F: '$1~/^(docker|podman|incus-admin)$/{f=1} END{exit f}' /etc/group && no docker`, Parse: anyLine,
			Fix: "Remove the members (gpasswd -d NAME docker) or use rootless containers.", Ref: "CIS Docker, 1.1.2",
		},
		{
			ID: "DOC-03", Core: true, Severity: High, Title: "The container engine is told to listen on the network",
			Run: `f=/etc/docker/daemon.json; s=/etc/systemd/system/docker.service.d; see $f; case $? in 2) exit;; 1) [ -d $s ] || { no docker; exit; };; esac; opened $s
{ tr -d '\n' <$f | grep -oE '"tcp://[^"]*"' | grep -vE '//(127\.|localhost|\[::1\])'; grep -HnsE 'ExecStart=.*-H[ =]*tcp://' $s/* | grep -v 'tcp://127\.'; } | d`, Parse: anyLine,
			Fix: "Remove the tcp host or set tlsverify with client certificates.", Ref: "Docker manual, Protect the daemon socket; CIS Docker, 2.7",
		},
		{
			ID: "DOC-04", Severity: Low, Title: "The container engine pulls from registries without TLS",
			Run: `f=/etc/docker/daemon.json; see $f || { [ $? = 1 ] && no docker; exit; }; tr -d '\n' <$f | grep -oE '"insecure-registries" *: *\[ *"[^]]*' | d`, Parse: anyLine,
			Fix: "Give the registry a certificate and remove the entry.", Ref: "CIS Docker, 2.5",
		},
		{
			ID: "DOC-05", Severity: Medium, Title: "Agent sockets are open to others",
			Run: `fact unix && awk -F'\t' '$1~/(ssh-[^\/]*\/agent|S\.gpg-agent|agent\.[0-9]+$)/&&substr($2,length($2)-1)!="00"{print $1 " (mode " $2 ", " $3 ")"}' $H/unix.tsv | d`, Parse: anyLine,
			Fix: "chmod 600 the socket; whoever opens it can use its owner's keys.", Ref: "ssh-agent(1)",
		},
		{
			ID: "DOC-06", Severity: Medium, Title: "Containers are started with the host's rights",
			Run: `l=$(for r in /etc /srv /opt; do tf $r -xdev -maxdepth 4 -type f \( -name 'compose.y*ml' -o -name 'docker-compose*.y*ml' \) -print0; done | head -n 50); [ -n "$l" ] || { no compose-files; exit; }
printf '%s\n' "$l" | while IFS= read -r f; do see "$f" && awk '!/^[ ]*#/&&(/privileged: *true/||/docker\.sock/||/(network_mode|pid|ipc): *"?host/||/SYS_ADMIN/){print FILENAME ":" FNR "\t" $0}' "$f"; done | d`, Parse: anyLine,
			Fix: "Remove privileged, the socket mount and host namespaces; add single capabilities.", Ref: "CIS Docker, 5.5, 5.10, 5.32",
		},
	}
}

func secretChecks() []Check {
	secrets := func(cond string) string {
		return `fact secrets && awk -F'\t' '` + cond + `{print $1 ": " $2 " (mode " $3 ", " $4 ")"}' $H/secrets.tsv | d`
	}
	return []Check{
		{
			ID: "SEC-01", Core: true, Severity: High, Title: "Keys of services are readable by other accounts",
			Run: secrets(`substr($3,length($3))+0>=4&&$2!="private-key"&&$2!="encrypted-key"`), Parse: anyLine,
			Fix: "chmod 600 the file, replace the key at its service, keep it in a secret store.", Ref: "OWASP Secrets Management",
		},
		{
			ID: "SEC-02", Core: true, Severity: Low, Title: "Keys of services lie in plain files",
			Run: secrets(`substr($3,length($3))+0<4&&$1!~/_history$/&&$2!="private-key"&&$2!="encrypted-key"`), Parse: anyLine,
			Fix: "Move them to a secret store, or at least out of dotfiles.", Ref: "OWASP Secrets Management",
		},
		{
			ID: "SEC-03", Severity: Medium, Title: "Keys were typed into a shell and stand in its history",
			Run: secrets(`$1~/_history$/`), Parse: anyLine,
			Fix: "Replace the key at its service and remove the line from the history.", Ref: "MITRE ATT&CK T1552.003",
		},
		{
			ID: "SEC-04", Severity: Low, Title: "Private keys have no passphrase",
			Run: secrets(`$2=="private-key"`), Parse: anyLine,
			Fix: "ssh-keygen -p -f FILE; keys for machines belong into an agent or a store.", Ref: "ssh-keygen(1)",
		},
	}
}
