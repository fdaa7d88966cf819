package auditor

// cronPrelude prints every cron line as "file:line TAB user TAB schedule TAB command".
const cronPrelude = `cronlines() {
  local f
  [ -d /etc/cron.d ] || [ -e /etc/crontab ] || see /var/spool/cron/. || { no cron; return; }
  opened /etc/cron.d
  for f in /etc/crontab /etc/cron.d/*; do [ -f "$f" ] && see "$f" && awk '{gsub(/\t/," ");sub(/^ +/,"")} /^#/||/^[A-Za-z_]+ *=/||$0==""{next} {n=/^@/?1:5;s="";for(i=1;i<=n;i++)s=s (i>1?" ":"") $i;u=$(n+1);c="";for(i=n+2;i<=NF;i++)c=c (i>n+2?" ":"") $i;print FILENAME ":" FNR "\t" u "\t" s "\t" c}' "$f"; done
  see /var/spool/cron/crontabs/. || return
  for f in /var/spool/cron/crontabs/*; do [ -f "$f" ] && see "$f" && awk '{gsub(/\t/," ");sub(/^ +/,"")} /^#/||/^[A-Za-z_]+ *=/||$0==""{next} {n=/^@/?1:5;s="";for(i=1;i<=n;i++)s=s (i>1?" ":"") $i;u=FILENAME;sub(/.*\//,"",u);c="";for(i=n+1;i<=NF;i++)c=c (i>n+1?" ":"") $i;print FILENAME ":" FNR "\t" u "\t" s "\t" c}' "$f"; done
}
fetches='(curl|wget|fetch)[^|;&]*\|[ ]*(sudo )?(ba|da|z|k)?sh|/dev/tcp/|base64 +(-d|--decode)|(^|[ /])(nc|ncat)( .*)? -[a-z]*e |python[0-9.]* -c .*(socket|urllib)|(ba)?sh -c .*\$\((curl|wget)'
units() { opened /etc/systemd/system; for f in /etc/systemd/system/*.service /etc/systemd/system/*.timer /etc/systemd/system/*/*.conf; do [ -f "$f" ] && see "$f" && awk '/^Exec[A-Za-z]*=/||/^On[A-Z][A-Za-z]*=/{gsub(/\t/," ");print FILENAME ":" FNR "\t" $0}' "$f"; done; }
paths() { tr -s " ;|&<>()=\"'" '\n' | sed 's/^[-+!@:]*//' | grep '^/' | grep -v '^/dev/' | sort -u; }
`

func cronChecks() []Check {
	return []Check{
		{
			ID: "CRON-01", Core: true, Severity: Critical, Title: "Others may write what cron runs",
			Run: `{ cronlines | cut -f4- | paths; ls -d /etc/crontab /etc/cron.d /etc/cron.*ly /etc/cron.d/* /etc/cron.*ly/*; } | loose | sort -u | d`, Parse: anyLine,
			Fix: "chown root and chmod go-w the script and its directory, then read the script.", Ref: "crontab(5); MITRE ATT&CK T1053.003",
		},
		{
			ID: "CRON-02", Core: true, Severity: Critical, Title: "A cron job fetches or decodes code and runs it",
			Run: `{ cronlines; for f in /etc/cron.*ly/* /etc/rc.local; do [ -f "$f" ] && see "$f" && awk '!/^[ \t]*#/{print FILENAME ":" FNR "\t" $0}' "$f"; done; } | grep -E "$fetches" | d`, Parse: anyLine,
			Fix: "Disable the job, keep a copy, and find out who made it.", Ref: "MITRE ATT&CK T1053.003",
		},
		{
			ID: "CRON-03", Severity: Low, Title: "Jobs start by themselves at every boot",
			Run: `cronlines | awk -F'\t' '$3=="@reboot"' | d`, Parse: anyLine,
			Fix: "Check that each @reboot line is meant; prefer a systemd unit.", Ref: "crontab(5)",
		},
		{
			ID: "CRON-04", Core: true, Severity: High, Title: "Cron runs programs from temporary or hidden places",
			Run: `cronlines | awk -F'\t' '$4~/(^|[ ;&|(])\/(tmp|var\/tmp|dev\/shm)\//||($2=="root"&&$4~/(^|[ ;&|(])\/home\//)||$4~/\/\.[A-Za-z0-9]+\/[^ ]*/&&$4!~/\/\.(local|config|cache|acme\.sh|nvm|cargo)\//' | d`, Parse: anyLine,
			Fix: "Move the program to a place only root can write, or remove the job.", Ref: "MITRE ATT&CK T1053.003",
		},
		{
			ID: "CRON-05", Severity: Info, Title: "Every account may make cron jobs",
			Run: `[ -d /etc/cron.d ] || see /etc/crontab || { no cron; exit; }; [ -e /etc/cron.allow ] || echo "no /etc/cron.allow" | d`, Parse: anyLine,
			Fix: "List the accounts that may in /etc/cron.allow.", Ref: "crontab(1); CIS Debian 12, 2.4.1.8",
		},
		{
			ID: "CRON-06", Core: true, Severity: High, Title: "Local systemd units run loose or fetched code",
			Run: `[ -d /etc/systemd/system ] || { no systemd; exit; }; { units | grep -E "$fetches|Exec[A-Za-z]*=[-+!@:]*/(tmp|var/tmp|dev/shm)/"; units | grep Exec | cut -f2- | cut -d= -f2- | paths | loose; ls -d /etc/systemd/system /etc/systemd/system/*.service /etc/systemd/system/*.timer | loose; } | sort -u | d`, Parse: anyLine,
			Fix: "systemctl disable the unit, keep a copy, and find out who made it.", Ref: "systemd.service(5); MITRE ATT&CK T1543.002",
		},
		{
			ID: "CRON-07", Severity: Low, Title: "Boot scripts of the old kind exist (rc.local)",
			Run: `see /etc/rc.local && awk '!/^[ \t]*#/&&!/^[ \t]*exit 0/&&NF{print FILENAME ":" FNR "\t" $0}' /etc/rc.local | d; ls -d /etc/rc.local | loose | d`, Parse: anyLine,
			Fix: "Move what is needed to a systemd unit and remove the file.", Ref: "systemd-rc-local-generator(8)",
		},
	}
}
