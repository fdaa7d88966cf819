package auditor

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
)

// endMark closes every here-document of a reply. No script and no base64 text
// contains it; a test holds that.
const endMark = "AUDITOR_END"

// library is the shell code every step sources. It is written once to
// $HOME/auditor/lib.sh and recognised by its hash afterwards.
const library = `# night watch: shared functions
export LC_ALL=C
A=$HOME/auditor H=/run/sallyport/host
# can FILE: tried by opening, because access(2) ignores ambient capabilities
can() { { : <"$1"; } 2>/dev/null; }
# un FILE: say that it is closed to us, and which group may read it
# (notes go to descriptor 9, past every pipeline that carries host data)
un() { echo >&9 "! unreadable $1 $(stat -c '%A %G' "$1" 2>/dev/null | awk 'substr($1,5,1)=="r"{print $2}')"; }
no() { echo >&9 "! absent $1"; }
# see FILE: 0 readable, 1 not there, 2 closed to us (said)
see() {
  local p=$1
  case $p in /*) ;; *) return 1;; esac
  if [ -e "$p" ]; then can "$p" && return 0; un "$p"; return 2; fi
  p=${p%/*}; while [ -n "$p" ] && [ ! -e "$p" ]; do p=${p%/*}; done
  [ -z "$p" ] || [ -e "$p/." ] || { un "$p"; return 2; }
  return 1
}
d() { sed 's/^/d /'; }
# fact NAME: 0 when the collector read it; otherwise says why not
fact() {
  local s n
  can $H/coverage.tsv || { echo >&9 "! unreadable $H"; return 1; }
  for n in 1 2 3 4 5 6 7 8; do # what is still being read comes within seconds
    s=$(awk -F'\t' -v c="$1" '$1==c{print $2;exit}' $H/coverage.tsv); [ "$s" = pending ] || break; sleep 1
  done
  case $s in ok) return 0;; partial) echo >&9 "! unreadable $H/$1"; return 0;; not-installed) no "$1";; *) echo >&9 "! unreadable $H/$1";; esac
  return 1
}
homes() { awk -F: '$3==0||($3>=1000&&$3<65000){print $6}' /etc/passwd | grep -x '/[A-Za-z0-9/._-]*' | grep -vx / | sort -u; }
# scanned TYPES: rows of the file scan, after its gaps
scanned() {
  can $A/scan.tsv || { echo >&9 "! partial scan"; return 1; }
  awk '{print "! " $0}' $A/scan.gaps | head -n 3 >&9
  sort -u $A/scan.tsv
}
# loose: of the paths on stdin, those that group (not root) or others may write
loose() {
  local p
  while IFS= read -r p; do [ -e "$p" ] && stat -Lc '%a %U:%G %n' -- "$p" || see "$p"; done |
    awk '{n=length($1);o=substr($1,n)+0;g=substr($1,n-1,1)+0;if(n>3&&substr($1,1,1)%2)next;split($2,w,":");if(int(o/2)%2||(int(g/2)%2&&w[2]!="root"&&w[1]!=w[2]))print}'
}
# tf FIND-ARGUMENTS: find with a time limit, printing one printable line a file
tf() { { timeout 5 find "$@"; [ $? != 124 ] || echo >&9 "! partial $1"; } | tr '\n\0' '?\n'; }
# opened DIR...: says which of them may not be listed
opened() { local p; for p; do [ -d "$p" ] && see "$p/."; done; }
# run LIMIT ID...: every check framed; no new check once LIMIT characters are out
run() {
  local max=$1 n=0 id o; shift
  for id; do
    [ $n -lt $max ] || { echo "@more"; return; }
    o=$( (c_${id/-/_}) 9>&1 </dev/null 2>/dev/null | tr -c '\11\12\40-\176' '?' | cut -c1-180 | awk '/^! /{if(a++<4)print "| " $0;next} /^d /{if(b++<12)print "| " $0;next} END{if(b>12)print "@cut",b-12}')
    printf '@%s\n%s\n@end %s %s\n' $id "$o" $id $(printf '%s\n' "$o" | grep -c '^|')
    n=$((n+${#o}+20))
  done
  echo "@done"
}
# save: rows in base64 on stdin replace older rows of the same patrol and check
save() {
  base64 -d | gunzip >$A/rows.new && touch $A/tracker.tsv &&
    awk -F'\t' 'NR==FNR{k[$2,$3]=1;n[NR]=$0;m=NR;next} !(($2,$3) in k){print} END{for(i=1;i<=m;i++)print n[i]}' $A/rows.new $A/tracker.tsv >$A/tracker.new &&
    mv $A/tracker.new $A/tracker.tsv && echo "@saved $(wc -l <$A/rows.new)" || echo "@fail tracker"
}
`

// scanScript walks the file system in slices of a few seconds, so that no command
// comes near the shell's time limit.
const scanScript = `# night watch: file scan
one() { # ROOT DEPTH: 124 when it took too long
  timeout 4 find "$1" -xdev -maxdepth $2 \( -path /var/lib/docker -o -path "$HOME" -o -path "$NAISYS_FOLDER" \) -prune -o \( -type f -perm /6000 -o -type f -perm -2 -o -type d -perm -2 ! -perm -1000 -o -nouser -o -nogroup \) -printf '%y\t%m\t%u\t%g\t%p\0' 2>$A/scan.err | tr '\n\0' '?\n' | head -n 20000 >>$A/scan.tsv
  return ${PIPESTATUS[0]}
}
# scan PATROL: set-id, world-writable and unowned files below the roots
scan() {
  local r t=$SECONDS
  if [ "$(cat $A/scan.id 2>/dev/null)" != "$1" ]; then
    { if can $H/roots.txt; then cat $H/roots.txt; else printf '%s\n' /etc /usr /opt /srv /home /root /var /boot; fi; } >$A/scan.todo
    : >$A/scan.tsv; : >$A/scan.gaps; echo "$1" >$A/scan.id
  fi
  while [ -s $A/scan.todo ]; do
    [ $((SECONDS-t)) -lt 4 ] || { echo "@scan more"; return; }
    IFS= read -r r <$A/scan.todo; sed -i 1d $A/scan.todo
    [ -d "$r" ] || continue
    one "$r" 99; case $? in
    124) if [ "$(printf %s "$r" | tr -dc / | wc -c)" -lt 4 ] && one "$r" 1; [ $? != 124 ]; then
        find "$r" -xdev -mindepth 1 -maxdepth 1 -type d 2>/dev/null | grep -x '/[A-Za-z0-9/._+@-]*' >>$A/scan.todo
      else echo "partial $r" >>$A/scan.gaps; fi;;
    esac
    [ ! -s $A/scan.err ] || echo "unreadable $r" >>$A/scan.gaps
  done
  echo "@scan done"
}
`

// reportScript assembles a report out of the catalogue, the tracker and a plan.
const reportScript = `# night watch: report writer
# report PATROL LEVEL TOPIC: a plan on stdin becomes the report, as text and JSON
report() {
  local R=$NAISYS_FOLDER/security_reports now host b n=0 s
  [ -n "$NAISYS_FOLDER" ] && mkdir -p "$R" 2>/dev/null && [ -d "$R" ] || { echo "@fail reports"; return; }
  now=$(date +%s); host=$(head -n 1 /etc/hostname | tr -cd 'A-Za-z0-9.-' | sed 's/\.\.*/./g;s/^[.-]*//' | cut -c1-63); host=${host:-unknown-host}
  base64 -d | gunzip >$A/plan
  while :; do
    b=$(date -d @$now +%F-%H%M%S)-level$2-$host${3:+-$3}$s
    [ -e "$R/$b.txt" ] || [ -e "$R/$b.json" ] || break
    n=$((n+1)); s=-$((n+1))
  done
  for f in txt json; do
    awk -F'\t' -v p=$1 -v fmt=$f -v host="$host" -v when="$(date -d @$now '+%-m/%-d/%Y %-I:%M %p')" -v iso="$(date -u -d @$now +%FT%TZ)" -f $A/report.awk $A/*.sh $A/tracker.tsv $A/plan >"$R/.$b.$f.tmp" &&
      mv -n "$R/.$b.$f.tmp" "$R/$b.$f" && [ ! -e "$R/.$b.$f.tmp" ] || { echo "@fail reports"; return; }
  done
  awk -F'\t' -v p=$1 'NR==FNR{if($1=="C")l[$3]=FNR;if($1=="E")e[$2]=1;next} $2==p||!($2 in e)||($1=="C"&&l[$3]==FNR)' $A/tracker.tsv $A/tracker.tsv >$A/tracker.new
  printf 'E\t%s\t-\t%s\t%s\n' $1 $2 "$b" >>$A/tracker.new
  mv $A/tracker.new $A/tracker.tsv && echo "@report $b" || echo "@fail tracker"
}
# report.awk: #K rows are the catalogue, V rows evidence, the plan gives the order
cat >$A/report.awk <<'AWK'
function q(s) { gsub(/\\/,"&&",s); gsub(/"/,"\\\"",s); return "\"" s "\"" }
function list(id,  i,s) { for(i=1;i<=nv[id];i++) s=s (i>1?",":"") q(v[id,i]); return "[" s "]" }
$1=="#K" { topic[$2]=$3; title[$2]=$4; fix[$2]=$5; ref[$2]=$6; next }
$1=="V" && $2==p { v[$3,++nv[$3]]=$4; next }
substr($1,1,5)!="plan:" { next }
$1=="plan:j" && fmt=="json" { s=$2; gsub(/%HOST%/,host,s); gsub(/%ISO%/,iso,s); print s }
$1=="plan:jf" && fmt=="json" { print "    {\"id\":" q($2) ",\"check\":" q($3) ",\"topic\":" q(topic[$3]) ",\"title\":" q(title[$3]) ",\"severity\":" $4 ",\"severity_name\":" q($5) ",\"evidence\":" list($3) ",\"recommendation\":" q(fix[$3]) ",\"reference\":" q(ref[$3]) "}" $6 }
$1=="plan:ju" && fmt=="json" { print "      {\"check\":" q($2) ",\"title\":" q(title[$2]) ",\"reason\":" q(v[$2,1]) ",\"remedy\":" q($3) "}" $4 }
fmt!="txt" { next }
$1=="plan:t" { s=$2; gsub(/%WHEN%/,when,s); print s }
$1=="plan:f" { print "- " $2 " [" $5 "] " title[$3] " (" $3 ")"; for(i=1;i<=nv[$3];i++) print "    " v[$3,i] }
$1=="plan:r" { print "- " $2 ": " fix[$3] " [" ref[$3] "]" }
$1=="plan:u" { print "- " $2 " " title[$2] ": not known, " v[$2,1] "; " $3 }
AWK
`

// topicScript is the shell file of one topic: the catalogue rows as comments,
// helper functions, and one function per check.
func topicScript(topic string, checks []Check) string {
	var b strings.Builder
	b.WriteString("# night watch: " + topic + "\n")
	b.WriteString(preludes[topic])
	for i := range checks {
		c := &checks[i]
		if c.Topic != topic {
			continue
		}
		b.WriteString("#K\t" + c.ID + "\t" + c.Topic + "\t" + c.Title + "\t" + c.Fix + "\t" + c.Ref + "\n")
		b.WriteString("c_" + strings.Replace(c.ID, "-", "_", 1) + "() {\n" + strings.Trim(c.Run, "\n") + "\n}\n")
	}
	return b.String()
}

// digest names a script's content in the first twelve hex digits of its SHA-256.
func digest(script string) string {
	sum := sha256.Sum256([]byte(script))
	return hex.EncodeToString(sum[:])[:12]
}

// resumeScript opens every session: is the home ours to write, which scripts are
// already there, and how far did the last session come.
const resumeScript = `# auditor: resume
{
export LC_ALL=C; A=$HOME/auditor
(umask 077; mkdir -p "$A" && : >"$A/.writable") 2>/dev/null && echo "@home open" || echo "@home closed"
echo "@user $(id -un 2>/dev/null | tr -cd 'a-z0-9_-')"
sha256sum "$A"/*.sh 2>/dev/null | awk '{n=split($2,p,"/");print "@lib",p[n],substr($1,1,12)}'
awk -F'\t' '$1=="P"{print "@patrol",$2,$4,$5} $1=="E"{print "@ended",$2,$4,$5} $1=="C"{l[$3]=$2":"$4":"$5":"$6} END{for(i in l)g[l[i]]=g[l[i]]","i;for(k in g)print "@c",k,substr(g[k],2)}' "$A/tracker.tsv" 2>/dev/null | sort
echo "@done"
} 2>/dev/null
`
