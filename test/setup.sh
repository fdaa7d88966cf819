#!/bin/sh
# Installs what the tests use from Debian when run as root; otherwise names
# what is missing and which tests will skip because of it.
set -eu
missing=""
need() { # command package what-skips
	command -v "$1" >/dev/null 2>&1 && return 0
	missing="$missing $2"
	skips="${skips:-}
  $2: $3"
}
need sqlite3 sqlite3 "the SQL of the monitor's documentation on our event table"
need ss iproute2 "listening sockets in the auditor view"
need ssh-keygen openssh-client "verification of our signatures by ssh-keygen"
need git git "anchoring the log in a git repository"
need gcc gcc "the race detector"
need curl curl "connections of guarded programs, end to end"
need tmux tmux "the status line in a real terminal"
need ps procps "processes in the auditor view"
[ -n "$missing" ] || exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
	echo "setup: installing$missing"
	apt-get update -qq >/dev/null
	# shellcheck disable=SC2086 # a list of package names
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
else
	echo "setup: NOT ROOT, so these are missing and their tests SKIP:$skips"
	echo "setup: as root: apt-get install$missing"
fi
