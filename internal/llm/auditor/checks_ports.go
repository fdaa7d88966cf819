package auditor

// Rows of sockets.tsv: proto, address, port, state, uid, pid, exe, name. Only
// sockets that wait for peers count; "open" ones are bound beyond loopback.
const openSockets = `fact sockets && awk -F'\t' '{l=$2~/^127\./||$2=="::1"||$2~/^::ffff:127\./} ($4=="LISTEN"||$1~/^udp/)`

func portChecks() []Check {
	row := `{print $1 " " $2 ":" $3 " " ($8==""?"unknown process":$8 " (" $7 ", uid " $5 ")")}' $H/sockets.tsv | sort -u | d`
	return []Check{
		{
			ID: "PORT-01", Core: true, Severity: Medium, Title: "Services without encryption are on the network",
			Run: openSockets + `&&!l&&" 21 23 69 79 110 143 389 512 513 514 873 2049 5900 6000 "~(" " $3 " ")` + row, Parse: graver(High, ":23 ", ":512 ", ":513 ", ":514 "),
			Fix: "Stop the service, or put it behind SSH or TLS.", Ref: "CIS Debian 12, 2.1-2.2",
		},
		{
			ID: "PORT-02", Core: true, Severity: High, Title: "A database, cache or admin port listens on every address",
			Run: openSockets + `&&!l&&" 1433 2379 3306 5432 5984 6379 8500 9200 9300 11211 15672 27017 "~(" " $3 " ")` + row, Parse: anyLine,
			Fix: "Bind it to 127.0.0.1 or close the port in the firewall.", Ref: "CIS benchmarks of the product",
		},
		{
			ID: "PORT-03", Core: true, Severity: Critical, Title: "A program from a temporary or deleted place waits for connections",
			Run: `fact owners && ` + openSockets + `&&($7~/^\/(tmp|var\/tmp|dev\/shm)\//||$7~/ \(deleted\)$/)` + row, Parse: graver(Critical, "/tmp/", "/dev/shm/"),
			Fix: "Look at the process (ls -l /proc/PID/exe) before you stop it; a deleted file after an upgrade only needs a restart.", Ref: "MITRE ATT&CK T1571; proc(5)",
		},
		{
			ID: "PORT-04", Core: true, Severity: High, Title: "A container or cluster API is on the network",
			Run: openSockets + `&&!l&&" 2375 2376 4243 6443 10250 10255 "~(" " $3 " ")` + row, Parse: graver(Critical, ":2375 ", ":4243 ", ":10255 "),
			Fix: "Use the local socket, or require client certificates (port 2376 with tlsverify).", Ref: "Docker manual, Protect the daemon socket",
		},
		{
			ID: "PORT-05", Severity: Info, Title: "Sockets without a known process wait for connections",
			Run: `fact owners && ` + openSockets + `&&!l&&$6==""` + row, Parse: anyLine,
			Fix: "Kernel services (NFS, WireGuard) have none; anything else deserves a look.", Ref: "ss(8)",
		},
		{
			ID: "PORT-06", Severity: Low, Title: "An interpreter or relay waits for connections from the network",
			Run: `fact owners && ` + openSockets + `&&!l&&$8~/^(python|perl|ruby|php|node|nc|ncat|netcat|socat|bash|sh)[0-9.]*$/` + row, Parse: graver(High, " nc (", " ncat (", " netcat (", " socat (", " bash (", " sh ("),
			Fix: "Find out who started it; bind it to 127.0.0.1 if only this host needs it.", Ref: "MITRE ATT&CK T1059",
		},
		{
			ID: "PORT-07", Severity: Low, Title: "Ports were opened since the session began",
			Run: `fact live && fact sockets && { o=$(timeout 5 ss -H -ltn) || { echo >&9 "! partial ss"; exit; }; printf '%s\n' "$o" | awk 'NF{n=split($4,a,":");print a[n]}' | sort -u | awk -F'\t' 'NR==FNR{if($1~/^tcp/)k[$3]=1;next} !($1 in k){print "tcp port " $1 " listens now and did not then"}' $H/sockets.tsv -; } | d`, Parse: anyLine,
			Fix: "Find the process with ss -ltnp as root.", Ref: "ss(8)",
		},
		{
			ID: "PORT-08", Severity: Low, Title: "Remote tables and shares are on the network",
			Run: openSockets + `&&!l&&" 111 137 138 139 445 631 5353 1900 161 "~(" " $3 " ")` + row, Parse: anyLine,
			Fix: "Remove rpcbind, samba, avahi, cups-browsed or snmpd when nobody uses them.", Ref: "CIS Debian 12, 2.1",
		},
	}
}
