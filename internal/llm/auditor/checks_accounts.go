package auditor

import (
	"sort"
	"strings"
)

func sortedKeys(m map[string]string) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}

// loginDefs judges "KEY value" lines of login.defs.
func loginDefs(o Output) Verdict {
	var v Verdict
	for _, l := range o.Data {
		f := strings.Fields(l)
		if len(f) < 2 {
			continue
		}
		n, isNum := leading(f[1])
		bad := false
		switch f[0] {
		case "PASS_MAX_DAYS":
			bad = !isNum || n > 365 || n < 1
		case "UMASK":
			bad = !strings.HasSuffix(f[1], "7") && !strings.HasSuffix(f[1], "2")
		case "ENCRYPT_METHOD":
			m := strings.ToUpper(f[1])
			bad = m == "DES" || m == "MD5"
			if bad {
				v.Severity = Medium
			}
		}
		if bad {
			v.Bad = true
			v.Evidence = append(v.Evidence, f[0]+" "+f[1])
		}
	}
	return v
}

func accountChecks() []Check {
	return []Check{
		{
			ID: "ACC-01", Core: true, Severity: Critical, Title: "An account other than root has uid 0",
			Run: `see /etc/passwd && awk -F: '$3+0==0&&$3!=""&&$1!="root"&&!/^[+#-]/{print $1 " has uid 0, shell " $7}' /etc/passwd | d`, Parse: anyLine,
			Fix: "Find out who made it and when; remove it or give it its own uid.", Ref: "passwd(5); CIS Debian 12, 5.4.2.1",
		},
		{
			ID: "ACC-02", Core: true, Severity: High, Title: "An account has no password",
			Run: `fact accounts && awk -F'\t' '$2=="empty"{print $1 " has an empty password"}' $H/accounts.tsv | d`, Parse: anyLine,
			Fix: "Lock it (passwd -l NAME) or set a password.", Ref: "shadow(5); CIS Debian 12, 7.2.2",
		},
		{
			ID: "ACC-03", Core: true, Severity: Low, Title: "A system account has a login shell",
			Run: `see /etc/passwd && awk -F: '$3>0&&$3<1000&&$7!~/(nologin|false|sync|shutdown|halt)$/&&!/^[+#-]/{print $1 " (uid " $3 ") has shell " ($7==""?"/bin/sh by default":$7)}' /etc/passwd | d`, Parse: anyLine,
			Fix: "usermod -s /usr/sbin/nologin NAME, unless people really log in with it.", Ref: "CIS Debian 12, 5.4.2.7",
		},
		{
			ID: "ACC-04", Severity: Medium, Title: "A password is stored in a weak form",
			Run: `fact accounts && awk -F'\t' '$2=="set"&&$3~/^(des|md5|nt|unknown)$/{print $1 " " $3}' $H/accounts.tsv | d`, Parse: anyLine,
			Fix: "Set ENCRYPT_METHOD YESCRYPT and let these people change their passwords.", Ref: "crypt(5)",
		},
		{
			ID: "ACC-05", Severity: Medium, Title: "Account names or numbers are used twice",
			Run: `see /etc/passwd && see /etc/group && { awk -F: '!/^[+#-]/{if(u[$3]!=""&&$3!=0)print "uid " $3 ": " u[$3] " and " $1;u[$3]=$1;if(n[$1]++)print "name " $1}' /etc/passwd; awk -F: '!/^[+#-]/{if(g[$3]!="")print "gid " $3 ": " g[$3] " and " $1;g[$3]=$1}' /etc/group; } | d`, Parse: anyLine,
			Fix: "Give each account and group its own name and number.", Ref: "CIS Debian 12, 7.2.5-7.2.8",
		},
		{
			ID: "ACC-06", Severity: Info, Title: "Password ageing, hashing or umask defaults are weak",
			Run: `if see /etc/login.defs; then awk '$1=="PASS_MAX_DAYS"||$1=="UMASK"||$1=="ENCRYPT_METHOD"{print $1,$2}' /etc/login.defs | d; elif [ $? = 1 ]; then no login.defs; fi`, Parse: loginDefs,
			Fix: "Set PASS_MAX_DAYS 365, UMASK 027 and ENCRYPT_METHOD YESCRYPT in login.defs.", Ref: "login.defs(5); CIS Debian 12, 5.4.1",
		},
		{
			ID: "ACC-07", Core: true, Severity: Critical, Title: "Account files have loose modes",
			Run: `{ ls -d /etc/passwd /etc/group /etc/shadow /etc/gshadow | loose; for f in /etc/shadow /etc/gshadow /etc/shadow- /etc/gshadow-; do [ -e $f ] && stat -c '%a %U:%G %n' $f; done | awk '{if(substr($1,length($1))+0>0)print}'; } | sort -u | d`, Parse: anyLine,
			Fix: "chmod 644 passwd and group, chmod 640 shadow and gshadow (root:shadow).", Ref: "CIS Debian 12, 7.1",
		},
		{
			ID: "ACC-08", Severity: Low, Title: "PAM lets empty passwords through",
			Run: `[ -d /etc/pam.d ] || { see /etc/pam.d/. || no pam; exit; }; for f in /etc/pam.d/*; do see "$f"; done; grep -HnE '^[^#]*pam_unix\.so.*nullok( |$)|^[^#]*pam_permit\.so.*sufficient|^auth +sufficient +pam_permit' /etc/pam.d/* | cut -d: -f1,2,3 | d`, Parse: graver(High, "pam_permit"),
			Fix: "Remove nullok from pam_unix.so, and never let pam_permit.so suffice.", Ref: "pam_unix(8)",
		},
		{
			ID: "ACC-09", Severity: Low, Title: "Password guessing is not slowed down and weak passwords are not refused",
			Run: `[ -d /etc/pam.d ] || { see /etc/pam.d/. || no pam; exit; }
opened /etc/pam.d
grep -qsE '^[^#]*pam_(faillock|tally2)\.so' /etc/pam.d/* || [ -e /etc/fail2ban/jail.local ] || [ -d /etc/crowdsec ] || echo "neither pam_faillock nor fail2ban" | d
grep -qsE '^[^#]*pam_(pwquality|cracklib|passwdqc)\.so' /etc/pam.d/* || echo "no pam_pwquality" | d`, Parse: anyLine,
			Fix: "Use pam_faillock or fail2ban against guessing, and pam_pwquality for new passwords.", Ref: "pam_faillock(8); pam_pwquality(8)",
		},
		{
			ID: "ACC-10", Severity: Medium, Title: "A home directory is open or not its owner's",
			Run: `see /etc/passwd && { homes | loose; awk -F: '$3>=1000&&$3<65000{print $3 "\t" $6}' /etc/passwd | while IFS=$'\t' read -r u h; do [ -d "$h" ] && stat -c "%u $u %n" -- "$h"; done | awk '$1!=$2{print $3 " belongs to uid " $1 ", not " $2}'; } | d`, Parse: anyLine,
			Fix: "chmod 750 the home and chown it to its user.", Ref: "CIS Debian 12, 7.2.9",
		},
		{
			ID: "ACC-11", Severity: Medium, Title: "People are in groups that amount to root",
			Run: `see /etc/group && awk -F: '$1~/^(disk|shadow|lxd|kmem|root)$/&&$4!=""&&!($1=="root"&&$4=="root"){print $1 ": " $4}' /etc/group | d`, Parse: anyLine,
			Fix: "Remove the members (gpasswd -d NAME GROUP).", Ref: "Debian wiki, SystemGroups",
		},
		{
			ID: "ACC-12", Severity: Critical, Title: "passwd holds a password or an old NIS line",
			Run: `see /etc/passwd && awk -F: '/^\+/{print "line " FNR " begins with +";next} !/^#/&&$2!="x"&&$2!="*"&&$2!="!"{print $1 ($2==""?" has an empty field 2":" keeps its hash in passwd")}' /etc/passwd | d`, Parse: anyLine,
			Fix: "Run pwconv and remove lines that begin with +.", Ref: "passwd(5); CIS Debian 12, 7.2.1",
		},
	}
}

func sudoChecks() []Check {
	const each = `see /etc/sudoers; case $? in 1) no sudo; exit;; esac; opened /etc/sudoers.d
for f in /etc/sudoers /etc/sudoers.d/*; do case $f in *'*'|*'~'|*/README) continue;; /etc/sudoers.d/*.*) continue;; esac; see "$f" && awk '{c=$0;while(sub(/\\$/,"",c)&&(getline l)>0)c=c l;sub(/^[ \t]+/,"",c)} c!~/^#/&&c!=""{print FILENAME ":" FNR "\t" c}' "$f"; done`
	return []Check{
		{
			ID: "SUDO-01", Core: true, Severity: Medium, Title: "sudo gives everything without a password",
			Run: each + ` | awk -F'\t' '$2~/NOPASSWD:[ \t]*(SETENV:[ \t]*)?ALL[ \t]*(,|$)/||tolower($2)~/^defaults.*!authenticate/' | d`, Parse: anyLine,
			Fix: "Remove NOPASSWD, or name the few commands that need it.", Ref: "sudoers(5); CIS Debian 12, 5.2.4",
		},
		{
			ID: "SUDO-02", Severity: Medium, Title: "sudo gives everything to accounts or wildcards outside the admin groups",
			Run: each + ` | awk -F'\t' '$2!~/^(Defaults|Host_Alias|User_Alias|Cmnd_Alias|Runas_Alias|@include)/&&$2~/=.*[ \t:)]ALL[ \t]*$/&&$2!~/^(root|%sudo|%wheel|%admin)[ \t]/||$2~/^ALL[ \t]/||($2!~/^Defaults/&&$2~/\/\*/)' | d`, Parse: graver(High, "\tALL "),
			Fix: "Name the commands, without wildcards, or use the group sudo.", Ref: "sudoers(5)",
		},
		{
			ID: "SUDO-03", Core: true, Severity: Critical, Title: "Others may write sudo's configuration",
			Run: `[ -e /etc/sudoers ] || { no sudo; exit; }; see /etc/sudoers.d/.; { ls -d /etc/sudoers /etc/sudoers.d /etc/sudoers.d/* | loose; stat -Lc '%a %U:%G %n' /etc/sudoers /etc/sudoers.d /etc/sudoers.d/* | awk '$2!~/^root:/'; } | sort -u | d`, Parse: anyLine,
			Fix: "chown root:root and chmod 440 the files, chmod 755 the directory.", Ref: "sudoers(5)",
		},
		{
			ID: "SUDO-04", Severity: Medium, Title: "sudo keeps dangerous settings",
			Run: each + ` | awk -F'\t' '{l=tolower($2)} l~/^defaults/&&(l~/ld_preload|ld_library_path|pythonpath|perl5lib/||l~/!env_reset|pwfeedback|!use_pty|visiblepw/||l~/timestamp_timeout[ \t]*=[ \t]*-1/)' | d`, Parse: graver(High, "LD_PRELOAD", "LD_LIBRARY_PATH"),
			Fix: "Remove these Defaults lines.", Ref: "sudoers(5) SUDOERS OPTIONS",
		},
	}
}
