package auditor

// knownSetuid are the set-id programs of Debian, Ubuntu and Fedora packages.
const knownSetuid = `^(/usr)?/s?bin/(su|sudo|passwd|chsh|chfn|newgrp|gpasswd|mount|umount|pkexec|fusermount3?|at|crontab|expiry|chage|wall|write(\.ul)?|ssh-agent|dotlockfile|bsd-write|ping6?|[mp]?locate|ntfs-3g|new[ug]idmap|unix_chkpwd|pam_[a-z_]*|mount\.[a-z]+|doas|screen|exim4|pppd|post(drop|queue)|utempter|userhelper) |^/usr/lib(exec|64)?/(.*/)?(dbus-daemon-launch-helper|polkit-agent-helper-1|ssh-keysign|chrome-sandbox|snap-confine|Xorg\.wrap|utempter|camel-lock-helper-1\.2|dmcrypt-get-device|qemu-bridge-helper|spice-client-glib-usb-acl-helper) |^/usr/(games/|local/(share|lib) )|^/var/(local|mail|log)[ /]`

func fileChecks() []Check {
	return []Check{
		{
			ID: "FILE-01", Core: true, Scan: true, Severity: High, Title: "Unknown programs run as their owner (setuid)",
			Run: `scanned | awk -F'\t' '$1=="f"&&length($2)==4&&substr($2,1,1)>=4{print $5 " (mode " $2 ", " $3 ")"}' | grep -vE '` + knownSetuid + `' | d`, Parse: graver(Critical, "/tmp/", "/home/", "/dev/shm/", "/srv/", "/var/www/"),
			Fix: "Find the package (dpkg -S FILE); without one, remove it or chmod u-s.", Ref: "CIS Debian 12, 7.1.13; MITRE ATT&CK T1548.001",
		},
		{
			ID: "FILE-02", Scan: true, Severity: Low, Title: "Unknown programs run with their group (setgid)",
			Run: `scanned | awk -F'\t' '$1=="f"&&length($2)==4&&substr($2,1,1)%4>=2{print $5 " (mode " $2 ", group " $4 ")"}' | grep -vE '` + knownSetuid + `' | d`, Parse: anyLine,
			Fix: "Find the package (dpkg -S FILE); without one, chmod g-s.", Ref: "CIS Debian 12, 7.1.13",
		},
		{
			ID: "FILE-03", Scan: true, Severity: Medium, Title: "Everybody may write to files",
			Run: `scanned | awk -F'\t' '$1=="f"&&int(substr($2,length($2))/2)%2&&$5!~/^\/etc\//{print $5 " (mode " $2 ", " $3 ")"}' | d`, Parse: anyLine,
			Fix: "chmod o-w FILE.", Ref: "CIS Debian 12, 7.1.11",
		},
		{
			ID: "FILE-04", Scan: true, Severity: Medium, Title: "Everybody may replace files in a directory (no sticky bit)",
			Run: `scanned | awk -F'\t' '$1=="d"&&int(substr($2,length($2))/2)%2{print $5 " (mode " $2 ", " $3 ")"}' | d`, Parse: anyLine,
			Fix: "chmod o-w DIR, or chmod +t DIR when it must be shared.", Ref: "CIS Debian 12, 7.1.11",
		},
		{
			ID: "FILE-05", Scan: true, Severity: Low, Title: "Files belong to nobody",
			Run: `scanned | awk -F'\t' '($3~/^[0-9]+$/||$4~/^[0-9]+$/){print $5 " (" $3 ":" $4 ")"}' | d`, Parse: anyLine,
			Fix: "Give them an owner or remove them: the next account with this number gets them.", Ref: "CIS Debian 12, 7.1.12",
		},
		{
			ID: "FILE-06", Core: true, Scan: true, Severity: Critical, Title: "Everybody may write below /etc",
			Run: `scanned | awk -F'\t' '($1=="f"||$1=="d")&&int(substr($2,length($2))/2)%2&&$5~/^\/etc(\/|$)/{print $5 " (mode " $2 ", " $3 ")"}' | d`, Parse: anyLine,
			Fix: "chmod o-w FILE, and compare its content with the package's.", Ref: "CIS Debian 12, 7.1",
		},
		{
			ID: "FILE-07", Core: true, Severity: High, Title: "Private keys or key folders are open to others",
			Run: `homes | while read -r h; do see $h/.ssh/.; [ -d $h/.ssh ] || continue; find $h/.ssh $h/.gnupg -maxdepth 1 \( -type d -perm /022 -o -type f \( -name 'id_*' ! -name '*.pub' -o -name '*.pem' -o -name '*.key' \) -perm /077 \) -printf '%m %u %p\0' | tr '\n\0' '?\n'; done | d`, Parse: anyLine,
			Fix: "chmod 600 the keys, chmod 700 the folders, and replace keys that others could read.", Ref: "ssh(1) FILES",
		},
		{
			ID: "FILE-08", Severity: High, Title: "Others may change what a login runs",
			Run: `homes | while read -r h; do see $h/.; ls -d $h/.bashrc $h/.bash_profile $h/.profile $h/.bash_login $h/.zshrc $h/.config/autostart | loose; done | d`, Parse: anyLine,
			Fix: "chmod go-w FILE and read what it runs.", Ref: "MITRE ATT&CK T1546.004",
		},
		{
			ID: "FILE-09", Core: true, Severity: High, Title: "Libraries are forced into every program",
			Run: `see /etc/ld.so.preload && grep -v '^ *#' /etc/ld.so.preload | grep . | sed 's/^/ld.so.preload: /' | d; ls -d /etc/ld.so.conf /etc/ld.so.conf.d /etc/ld.so.conf.d/* | loose | d`, Parse: anyLine,
			Fix: "Find the package of the library; remove the line if there is none.", Ref: "ld.so(8); MITRE ATT&CK T1574.006",
		},
		{
			ID: "FILE-10", Severity: Medium, Title: "Hosts are trusted without a password (.rhosts, hosts.equiv, .netrc)",
			Run: `{ for f in /etc/hosts.equiv /etc/shosts.equiv; do [ -s $f ] && echo $f; done; homes | while read -r h; do see $h/.; for f in .rhosts .shosts .netrc; do [ -e $h/$f ] && echo $h/$f; done; done; } | d`, Parse: graver(High, "equiv", "hosts"),
			Fix: "Remove the file.", Ref: "CIS Debian 12, 7.2.10",
		},
		{
			ID: "FILE-11", Severity: Low, Title: "Shared mounts allow setuid or device files",
			Run: `see /etc/fstab && awk '!/^#/&&NF>3&&$2~/^\/(tmp|var\/tmp|dev\/shm|home)$/&&($4!~/nosuid/||$4!~/nodev/){print $2 " " $4}' /etc/fstab | d`, Parse: anyLine,
			Fix: "Add nosuid,nodev to the options in /etc/fstab.", Ref: "CIS Debian 12, 1.1.2",
		},
		{
			ID: "FILE-12", Severity: High, Title: "Shell start files fetch or decode code",
			Run: `{ ls -1d /etc/profile /etc/bash.bashrc /etc/profile.d/*.sh /etc/environment; homes | sed 's|$|/.bashrc|;p;s|bashrc$|profile|'; } | while IFS= read -r f; do see "$f" && [ -f "$f" ] && awk '!/^[ \t]*#/&&(/(curl|wget)[^|]*\|[ ]*(ba|da|z)?sh/||/\/dev\/tcp\//||/base64 +(-d|--decode)[^|]*\|[ ]*(ba)?sh/||/^[ \t]*(export )?LD_PRELOAD=/){print FILENAME ":" FNR "\t" $0}' "$f"; done | d`, Parse: anyLine,
			Fix: "Remove the line and find out when it came (stat FILE).", Ref: "MITRE ATT&CK T1546.004",
		},
	}
}
