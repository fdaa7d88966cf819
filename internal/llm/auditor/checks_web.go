package auditor

// webPrelude prints the active configuration as "file:line TAB text", comments
// and leading blanks removed.
const webPrelude = `webconf() { # FILE...
  local f any=1 s
  for f; do see "$f"; s=$?; [ $s = 1 ] || any=0; [ $s = 0 ] && awk '{gsub(/[\t\r]/," ");sub(/^ +/,"")} /^#/||$0==""{next} {print FILENAME ":" FNR "\t" $0}' "$f"; done
  return $any
}
apacheconf() { opened /etc/apache2/conf-enabled /etc/apache2/mods-enabled /etc/apache2/sites-enabled /etc/httpd/conf.d; webconf /etc/apache2/apache2.conf /etc/apache2/conf-enabled/*.conf /etc/apache2/mods-enabled/*.conf /etc/apache2/sites-enabled/* /etc/httpd/conf/httpd.conf /etc/httpd/conf.d/*.conf || no apache; }
nginxconf() { opened /etc/nginx/conf.d /etc/nginx/sites-enabled; webconf /etc/nginx/nginx.conf /etc/nginx/conf.d/*.conf /etc/nginx/sites-enabled/* || no nginx; }
docroots() {
  { webconf /etc/apache2/sites-enabled/* /etc/httpd/conf/httpd.conf /etc/httpd/conf.d/*.conf | awk -F'\t' 'tolower($2)~/^documentroot /{sub(/^[A-Za-z]+ +/,"",$2);print $2}'
    webconf /etc/nginx/nginx.conf /etc/nginx/conf.d/*.conf /etc/nginx/sites-enabled/* | awk -F'\t' '$2~/^root /{sub(/^root +/,"",$2);sub(/;.*/,"",$2);print $2}'; } |
    tr -d '"' | sed 's/ *$//' | grep -x '/[A-Za-z0-9/._-]*' | sort -u
}
anyweb() { [ -d /etc/apache2 ] || [ -d /etc/httpd ] || [ -d /etc/nginx ] || { no web-server; return 1; }; }
`

// apache and nginx make the script of a check that looks at each line of a
// server's whole configuration.
func apache(cond string) string {
	return `apacheconf | awk -F'\t' '{l=tolower($2)} ` + cond + `' | d`
}

func nginx(cond string) string {
	return `nginxconf | awk -F'\t' '{l=tolower($2)} ` + cond + `' | d`
}

func webChecks() []Check {
	return []Check{
		{
			ID: "WEB-01", Severity: Low, Title: "Apache lets .htaccess override everything (AllowOverride All)",
			Run: apache(`l~/^allowoverride +all/`), Parse: anyLine,
			Fix: "Set \"AllowOverride None\" and put the rules into the site's configuration.", Ref: "Apache 2.4 core, AllowOverride; CIS Apache 2.4, 4.4",
		},
		{
			ID: "WEB-02", Severity: Medium, Title: "Apache lists directories (Options Indexes)",
			Run: apache(`l~/^options/&&l~/[ +]indexes/`), Parse: anyLine,
			Fix: "Set \"Options -Indexes\".", Ref: "Apache 2.4 core, Options; CIS Apache 2.4, 5.3",
		},
		{
			ID: "WEB-03", Severity: Low, Title: "Apache tries several script languages as directory index",
			Run: apache(`l~/^directoryindex/{n=0;if(l~/\.php/)n++;if(l~/\.pl/)n++;if(l~/\.cgi/)n++;if(l~/\.py/)n++;if(n>1)print}`), Parse: anyLine,
			Fix: "Keep only what the site needs, for example \"DirectoryIndex index.html\".", Ref: "Apache 2.4 mod_dir",
		},
		{
			ID: "WEB-04", Severity: Info, Title: "Apache tells its version",
			Run: `c=$(apacheconf) || exit; [ -n "$c" ] || exit; printf '%s\n' "$c" | awk -F'\t' '{l=tolower($2)} l~/^servertokens /{t=l;w=$1} l~/^serversignature +(on|email)/{print $1 "\t" $2} END{if(t=="")print "ServerTokens is not set; its default is Full";else if(t!~/prod/)print w "\t" t}' | d`, Parse: anyLine,
			Fix: "Set \"ServerTokens Prod\" and \"ServerSignature Off\".", Ref: "Apache 2.4 core; CIS Apache 2.4, 8.1-8.2",
		},
		{
			ID: "WEB-05", Severity: Medium, Title: "Apache allows old TLS or weak ciphers",
			Run: apache(`l~/^sslprotocol/&&(l~/[ +](sslv2|sslv3|tlsv1|tlsv1\.1)( |$)/||(l~/[ +]all( |$)/&&!(l~/-tlsv1( |$)/&&l~/-tlsv1\.1/)))||l~/^sslciphersuite/&&(l~/[ :+](rc4|des|3des|export|null|anull|md5)/||l~/^sslciphersuite +all$/)`), Parse: graver(High, "SSLv2", "SSLv3"),
			Fix: "Set \"SSLProtocol -all +TLSv1.2 +TLSv1.3\".", Ref: "RFC 8996; CIS Apache 2.4, 7.4",
		},
		{
			ID: "WEB-06", Severity: Medium, Title: "Apache shows its status or settings to everybody",
			Run:   `apacheconf | awk -F'\t' '{l=tolower($2)} l~/^<location/{b="";if(l~/server-(status|info)/)b=$1 "\t" $2;r=0} b!=""&&l~/^(require (local|ip|host|user|valid-user|all denied)|deny from all)/{r=1} l~/^<\/location/{if(b!=""&&!r)print b;b=""}' | d`,
			Parse: anyLine, Fix: "Add \"Require local\" inside the Location block.", Ref: "Apache 2.4 mod_status",
		},
		{
			ID: "WEB-07", Severity: Low, Title: "Apache answers TRACE or runs scripts outside script folders",
			Run: apache(`l~/^traceenable +(on|extended)/||l~/^options/&&l~/[ +]execcgi/||l~/^options +(\+)?all( |$)/`), Parse: anyLine,
			Fix: "Set \"TraceEnable Off\" and remove ExecCGI.", Ref: "Apache 2.4 core; CIS Apache 2.4, 5.8",
		},
		{
			ID: "WEB-08", Severity: Medium, Title: "nginx lists directories (autoindex on)",
			Run: nginx(`l~/(^|[ {;])autoindex +on/`), Parse: anyLine,
			Fix: "Set \"autoindex off;\".", Ref: "nginx ngx_http_autoindex_module; CIS nginx",
		},
		{
			ID: "WEB-09", Severity: Info, Title: "nginx tells its version",
			Run: `c=$(nginxconf) || exit; [ -n "$c" ] || exit; printf '%s\n' "$c" | awk -F'\t' '$2~/(^|[ {;])server_tokens +(on|build)/{print;s=1} $2~/server_tokens +off/{s=1} END{if(!s)print "server_tokens is not set; its default is on"}' | d`, Parse: anyLine,
			Fix: "Set \"server_tokens off;\".", Ref: "nginx core module; CIS nginx, 2.5.1",
		},
		{
			ID: "WEB-10", Severity: Medium, Title: "nginx allows old TLS",
			Run: nginx(`l~/(^|[ {;])ssl_protocols/&&(l~/ sslv[23]/||l~/ tlsv1[ ;]/||l~/ tlsv1\.1/)`), Parse: graver(High, "SSLv"),
			Fix: "Set \"ssl_protocols TLSv1.2 TLSv1.3;\".", Ref: "RFC 8996; CIS nginx, 4.1.4",
		},
		{
			ID: "WEB-11", Core: true, Severity: High, Title: "Private files lie below a web root",
			Run:   `anyweb && docroots | while read -r r; do see $r/. || continue; tf $r -xdev -maxdepth 4 \( -name .git -o -name '.env*' -o -name '*.sql' -o -name '*.bak' -o -name '*~' -o -name 'id_rsa*' -o -name '*.pem' -o -name .htpasswd -o -name 'wp-config.php.*' \) -printf '%p\0'; done | head -n 40 | d`,
			Parse: anyLine, Fix: "Move them out of the web root and replace any password they hold.", Ref: "OWASP WSTG-CONF-04",
		},
		{
			ID: "WEB-12", Severity: High, Title: "Others may write below a web root",
			Run: `anyweb && docroots | while read -r r; do see $r/. || continue; tf $r -xdev \( -type f -o -type d \) -perm -2 -printf '%m %u %p\0'; done | head -n 40 | d`, Parse: anyLine,
			Fix: "chmod o-w; give the server's user write access to upload folders only, without scripts in them.", Ref: "CIS Apache 2.4, 3.11-3.12",
		},
		{
			ID: "WEB-13", Severity: Medium, Title: "nginx alias lets requests leave its folder",
			Run: `nginxconf | awk -F'\t' '$2~/^location +\/[^ ]*[^\/ ] *\{/{b=$1 "\t" $2} $2~/^location +\/[^ ]*\/ *\{/{b=""} $2~/alias +[^;]*\/ *;/{if(b!="")print b " " $2} $2~/\}/{b=""}' | d`, Parse: anyLine,
			Fix: "End the location with a slash when its alias ends with one.", Ref: "nginx ngx_http_core_module, alias",
		},
	}
}
