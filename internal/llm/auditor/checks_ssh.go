package auditor

import (
	"strconv"
	"strings"
)

// sshPrelude resolves sshd_config the way sshd does: Include is expanded where it
// stands, the first value of a keyword wins, and Match blocks are shown apart.
const sshPrelude = `sshread() { # FILE SCOPE DEPTH
  local f=$1 sc=$2 n=0 l k v i p
  while IFS= read -r l || [ -n "$l" ]; do
    n=$((n+1)); l=${l//[$'\r\t']/ }; l=${l#"${l%%[! ]*}"}
    case $l in ''|\#*) continue;; esac
    k=${l%%[ =]*}; v=${l#"$k"}; v=${v#"${v%%[! =]*}"}; v=${v%"${v##*[! ]}"}; v=${v//\"/}; k=${k,,}
    case $k in
    match) case ${v,,} in all) sc=global;; *) sc="Match $v";; esac;;
    include) [ $3 -lt 8 ] && { set -f; set -- "$1" "$2" "$3" $v; set +f; for p in "${@:4}"; do
      case $p in /*) ;; *) p=/etc/ssh/$p;; esac
      [ -d "${p%/*}" ] && { see "${p%/*}/." || continue; }
      IFS=; for i in $p; do unset IFS; [ -e "$i" ] && see "$i" && sshread "$i" "$sc" $(($3+1)); done; unset IFS
    done; };;
    *) printf '%s\t%s\t%s\t%s\n' "$sc" "$k" "$v" "$f:$n";;
    esac
  done <"$f"
}
sshcfg() { # KEYWORD...: the effective global value of each, then what Match blocks say
  see /etc/ssh/sshd_config; case $? in 1) no sshd; return 1;; 2) return 1;; esac
  sshread /etc/ssh/sshd_config global 0 | awk -F'\t' -v want=" $* " '!index(want," " $2 " "){next} $1=="global"{if(!s[$2]++)print;next} {m[++n]=$0} END{for(i=1;i<=n;i++)print m[i]}'
}
`

// sshRule judges keyword lines "scope TAB keyword TAB value TAB file:line". def is
// sshd's value for a keyword that is set nowhere ("" = nothing to judge).
func sshRule(def map[string]string, bad func(keyword, value string) bool) func(Output) Verdict {
	return func(o Output) Verdict {
		var v Verdict
		set := map[string]bool{}
		for _, l := range o.Data {
			f := strings.Split(l, "\t")
			if len(f) < 4 {
				continue
			}
			if f[0] == "global" {
				set[f[1]] = true
			}
			if bad(f[1], strings.ToLower(f[2])) {
				v.Bad = true
				v.Evidence = append(v.Evidence, f[1]+" "+f[2]+" ("+f[0]+", "+f[3]+")")
			}
		}
		if len(o.Notes) > 0 { // something was not seen: a default cannot be concluded
			return v
		}
		for _, k := range sortedKeys(def) {
			if !set[k] && bad(k, def[k]) {
				v.Bad = true
				v.Evidence = append(v.Evidence, k+" is not set; its default is "+def[k])
			}
		}
		return v
	}
}

func isYes(_, v string) bool { return v == "yes" }

// seconds reads sshd's time format, of which single units matter: 120, 2m, 1h.
func seconds(v string) int {
	unit := 1
	switch {
	case strings.HasSuffix(v, "m"):
		unit = 60
	case strings.HasSuffix(v, "h"):
		unit = 3600
	}
	n, err := strconv.Atoi(strings.TrimRight(v, "smh"))
	if err != nil {
		return -1
	}
	return n * unit
}

func sshLimits(k, v string) bool {
	n := seconds(v)
	switch k {
	case "maxauthtries":
		return n > 6
	case "logingracetime":
		return n == 0 || n > 120
	case "maxsessions":
		return n > 10
	}
	return false
}

func sshTrust(k, v string) bool {
	switch k {
	case "hostbasedauthentication", "permituserenvironment", "gatewayports":
		return v == "yes"
	case "ignorerhosts", "strictmodes":
		return v == "no"
	case "protocol":
		return strings.Contains(v, "1")
	}
	return false
}

func sshChecks() []Check {
	return []Check{
		{
			ID: "SSH-01", Core: true, Severity: Medium, Title: "Root may log in over SSH with a password",
			Run:   `sshcfg permitrootlogin | d`,
			Parse: sshRule(nil, isYes),
			Fix:   "Set \"PermitRootLogin no\" (or prohibit-password) in sshd_config and use sudo.", Ref: "sshd_config(5); CIS Debian 12, 5.1.20",
		},
		{
			ID: "SSH-02", Core: true, Severity: Low, Title: "SSH accepts passwords",
			Run:   `sshcfg passwordauthentication | d`,
			Parse: sshRule(map[string]string{"passwordauthentication": "yes"}, isYes),
			Fix:   "Set up SSH keys, then set \"PasswordAuthentication no\" and \"KbdInteractiveAuthentication no\".", Ref: "sshd_config(5)",
		},
		{
			ID: "SSH-03", Core: true, Severity: Critical, Title: "SSH accepts empty passwords",
			Run: `sshcfg permitemptypasswords | d`, Parse: sshRule(nil, isYes),
			Fix: "Set \"PermitEmptyPasswords no\".", Ref: "sshd_config(5); CIS Debian 12, 5.1.19",
		},
		{
			ID: "SSH-04", Severity: Low, Title: "SSH forwards X11",
			Run: `sshcfg x11forwarding | d`, Parse: sshRule(nil, isYes),
			Fix: "Set \"X11Forwarding no\" unless somebody needs it.", Ref: "sshd_config(5)",
		},
		{
			ID: "SSH-05", Severity: Low, Title: "SSH login limits are wide",
			Run: `sshcfg maxauthtries logingracetime maxsessions | d`, Parse: sshRule(nil, sshLimits),
			Fix: "Set \"MaxAuthTries 4\", \"LoginGraceTime 60\" and \"MaxSessions 10\".", Ref: "CIS Debian 12, 5.1.13-5.1.17",
		},
		{
			ID: "SSH-06", Severity: Medium, Title: "SSH allows weak cryptography",
			Run:   `sshcfg ciphers macs kexalgorithms hostkeyalgorithms pubkeyacceptedalgorithms pubkeyacceptedkeytypes | awk -F'\t' '{op=substr($3,1,1);if(op=="-")next;sub(/^[+^]/,"",$3);n=split(tolower($3),a,",");for(i=1;i<=n;i++)if(a[i]~/cbc|arcfour|3des|blowfish|hmac-md5|hmac-sha1|umac-64|group1-sha1|group14-sha1|group-exchange-sha1|ssh-dss|^ssh-rsa$/)print $2 " " a[i] " (" $1 ", " $4 ")"}' | d`,
			Parse: anyLine,
			Fix:   "Remove these algorithms; the defaults of a current OpenSSH are good.", Ref: "RFC 9142; RFC 8758",
		},
		{
			ID: "SSH-07", Core: true, Severity: High, Title: "SSH trusts hosts, user files or old protocols",
			Run:   `sshcfg hostbasedauthentication permituserenvironment gatewayports ignorerhosts strictmodes protocol | d`,
			Parse: sshRule(nil, sshTrust),
			Fix:   "Remove these lines; the defaults refuse all of it.", Ref: "sshd_config(5); CIS Debian 12, 5.1.10-5.1.11",
		},
		{
			ID: "SSH-08", Severity: Info, Title: "SSH does not limit who may log in",
			Run: `v=$(sshcfg allowusers allowgroups) || exit; [ -n "$v" ] || echo "no AllowUsers or AllowGroups line" | d`, Parse: anyLine,
			Fix: "List the people in \"AllowUsers\" or \"AllowGroups\".", Ref: "CIS Debian 12, 5.1.4",
		},
		{
			ID: "SSH-09", Severity: High, Title: "SSH server files have loose modes",
			Run: `[ -d /etc/ssh ] || { see /etc/ssh/. || no sshd; exit; }; opened /etc/ssh /etc/ssh/sshd_config.d
{ ls -d /etc/ssh /etc/ssh/sshd_config /etc/ssh/sshd_config.d /etc/ssh/sshd_config.d/* | loose
for f in /etc/ssh/ssh_host_*_key; do [ -e "$f" ] && stat -Lc '%a %U:%G %n' -- "$f"; done | awk '{n=length($1);if(substr($1,n)+0>0||(substr($1,n-1,1)+0>0&&$2!~/:ssh_keys$/))print}'; } | d`,
			Parse: anyLine, Fix: "chmod 600 the host keys, chmod go-w the configuration, chown root:root both.", Ref: "sshd(8) FILES; CIS Debian 12, 5.1.1-5.1.2",
		},
		{
			ID: "SSH-10", Severity: High, Title: "Others may add SSH keys to an account",
			Run:   `homes | while read -r h; do see $h/.ssh/authorized_keys; ls -d $h/.ssh $h/.ssh/authorized_keys $h/.ssh/authorized_keys2 | loose; done | d`,
			Parse: anyLine, Fix: "chmod 700 .ssh and chmod 600 authorized_keys; look at the keys in it.", Ref: "sshd(8) AUTHORIZED_KEYS",
		},
		{
			ID: "SSH-11", Severity: Medium, Title: "Weak or odd keys are authorized",
			Run:   `homes | while read -r h; do for f in $h/.ssh/authorized_keys $h/.ssh/authorized_keys2; do see $f && awk '/^[ \t]*#/||!NF{next} /ssh-dss /{print FILENAME ":" FNR " ssh-dss key"} /command="[^"]*(curl|wget|\/dev\/tcp|base64|nc )/{print FILENAME ":" FNR " forced command fetches or decodes"}' $f; done; done | d`,
			Parse: anyLine, Fix: "Remove these keys; use ed25519.", Ref: "RFC 9142; sshd(8)",
		},
		{
			ID: "SSH-12", Severity: Low, Title: "SSH logs too little or skips PAM",
			Run: `sshcfg loglevel usepam | d`,
			Parse: sshRule(nil, func(k, v string) bool {
				return k == "loglevel" && (v == "quiet" || v == "fatal" || v == "error") || k == "usepam" && v == "no"
			}),
			Fix: "Set \"LogLevel INFO\" (or VERBOSE) and \"UsePAM yes\".", Ref: "CIS Debian 12, 5.1.14, 5.1.22",
		},
	}
}
