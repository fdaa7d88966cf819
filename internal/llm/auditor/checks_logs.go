package auditor

// logPrelude brings the authentication log, from files or else the journal, and
// picks the source of an sshd line from its end: a user name may contain " from ".
const logPrelude = `authlog() {
  local f any= s
  for f in /var/log/auth.log.1 /var/log/auth.log /var/log/secure.1 /var/log/secure; do
    see $f; s=$?; [ $s = 1 ] || any=1; [ $s = 0 ] && tail -c 16000000 $f | cut -c1-1200
  done
  [ -n "$any" ] && return
  journal || { [ $? = 1 ] && no auth.log; return; }
  timeout 6 journalctl -q --no-pager -D /var/log/journal -o short -t sshd -t sshd-session -t sudo -t su -t login -t useradd -t usermod -t groupadd --since -3days | tail -c 16000000 | cut -c1-1200
  case ${PIPESTATUS[0]} in 0|1) ;; 127) no journalctl;; *) echo >&9 "! partial journal";; esac
}
journal() { # 0 a kept journal can be read, 1 there is none, 2 it is closed (said)
  local f
  see /var/log/journal/. || return
  for f in /var/log/journal/*/.; do [ -e "$f" ] && { see "$f" || return 2; }; done
  for f in /var/log/journal/*/system.journal; do see "$f" || return; done
}
sshlog() { # "F|A|I source user method" per failed, accepted or invalid-user line
  authlog | awk '
    { i=index($0," sshd"); if(!i||i>60) next; t=substr($0,i+1); if(t!~/^sshd(-session)?(\[[0-9]+\])?: /) next; sub(/^[^:]*: /,"",t) }
    !match(t,/ from [0-9a-fA-F:.]+ port [0-9]+( ssh2(: .*)?)?( \[preauth\])?$/) { if(t~/^(Failed|Invalid)/)print substr(t,1,1),"(cut off)","?","?"; next }
    { split(substr(t,RSTART+6),w," "); head=substr(t,1,RSTART-1) }
    t~/^Invalid user /{print "I",w[1];next}
    t~/^Failed [a-z\/-]+ for /{n=split(head,h," ");print "F",w[1],h[n],h[2];next}
    t~/^Accepted [a-z\/-]+ for /{n=split(head,h," ");print "A",w[1],h[n],h[2]}'
}
`

func logChecks() []Check {
	return []Check{
		{
			ID: "LOG-01", Core: true, Severity: Medium, Title: "Logins are not recorded",
			Run: `for f in /var/log/auth.log /var/log/secure; do see $f; s=$?; [ $s = 2 ] && exit; [ $s = 0 ] && { [ -s $f ] || { [ -s $f.1 ] || echo "$f is empty and has no predecessor" | d; }; exit; }; done
journal; [ $? = 1 ] && echo "neither auth.log nor a kept journal" | d`, Parse: anyLine,
			Fix: "Install rsyslog, or keep the journal (mkdir /var/log/journal).", Ref: "journald.conf(5); CIS Debian 12, 6.1",
		},
		{
			ID: "LOG-02", Core: true, Severity: Medium, Title: "Sources are guessing SSH passwords",
			Run: `sshlog | awk '$1=="F"{c[$2]++;t++} END{if(t)print t " failed logins in all";for(i in c)print c[i] " from " i}' | sort -rn | head -n 12 | d`, Parse: atLeast(20),
			Fix: "Use fail2ban or allow SSH from trusted addresses only.", Ref: "sshd(8); fail2ban jail.conf(5)",
		},
		{
			ID: "LOG-03", Severity: Low, Title: "Sources try user names that do not exist",
			Run: `sshlog | awk '$1=="I"{c[$2]++} END{for(i in c)print c[i] " unknown names from " i}' | sort -rn | head -n 8 | d`, Parse: atLeast(5),
			Fix: "Nothing to repair by itself; limit who may reach SSH.", Ref: "sshd(8)",
		},
		{
			ID: "LOG-04", Core: true, Severity: High, Title: "A source was let in after many failures",
			Run: `sshlog | awk '$1=="F"{c[$2]++} $1=="A"&&c[$2]>=10&&!s[$2,$3]++{print c[$2] " failures, then accepted: " $3 " from " $2 " by " $4}' | sort -rn | d`, Parse: atLeast(10),
			Fix: "Ask the person; if it was not them, lock the account, end its sessions and rotate its keys.", Ref: "NIST SP 800-61",
		},
		{
			ID: "LOG-05", Core: true, Severity: High, Title: "Root logged in over SSH with a password",
			Run: `sshlog | awk '$1=="A"&&$3=="root"&&$4!="publickey"{c[$2]++} END{for(i in c)print c[i] " root logins by password from " i}' | sort -rn | d`, Parse: anyLine,
			Fix: "Use personal accounts with keys, and sudo.", Ref: "CIS Debian 12, 5.1.20",
		},
		{
			ID: "LOG-06", Severity: Low, Title: "sudo or su was refused",
			Run: `authlog | awk '{i=index($0," sudo: ");if(i&&i<60&&/NOT in sudoers|incorrect password attempt|authentication failure/){c["sudo"]++;next} if($0~/ su(\[[0-9]+\])?: FAILED SU/)c["su"]++} END{for(i in c)print c[i] " refusals by " i}' | d`, Parse: atLeast(3),
			Fix: "Read the lines in auth.log and ask the people concerned.", Ref: "sudo(8)",
		},
		{
			ID: "LOG-07", Severity: Low, Title: "Accounts were made or given rights lately",
			Run: `authlog | awk '/ (useradd|usermod|groupadd)(\[[0-9]+\])?: /{if(/new user: name=|to group .(sudo|root|docker|wheel|adm)/){sub(/.* (useradd|usermod|groupadd)(\[[0-9]+\])?: /,"");print}}' | tail -n 8 | d`, Parse: graver(High, "UID=0,"),
			Fix: "Check that an administrator made each of them.", Ref: "useradd(8)",
		},
		{
			ID: "LOG-08", Severity: Medium, Title: "Log files have loose modes",
			Run: `[ -d /var/log ] || { see /var/log/.; exit; }; { find /var/log -maxdepth 2 -type f -perm -2 -printf '%m %u:%g %p\0'; find /var/log -maxdepth 1 -type f \( -name 'auth.log*' -o -name 'secure*' -o -name btmp \) -perm -4 -printf '%m %u:%g %p\0'; } | tr '\n\0' '?\n' | sort -u | d`, Parse: anyLine,
			Fix: "chmod 640 the files, owner root or syslog, group adm.", Ref: "CIS Debian 12, 6.1.4",
		},
		{
			ID: "LOG-09", Severity: Low, Title: "A log looks as if it had been emptied",
			Run: `for f in /var/log/auth.log /var/log/syslog /var/log/secure /var/log/messages; do [ -e $f ] && [ ! -s $f ] && [ -s $f.1 ] && echo "$f is empty, $f.1 is not"; done | d
[ -L /root/.bash_history ] && echo "/root/.bash_history is a link" | d`, Parse: anyLine,
			Fix: "Compare with the remote copy or the backup; find out who was logged in.", Ref: "MITRE ATT&CK T1070.002",
		},
	}
}
