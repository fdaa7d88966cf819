#!/bin/sh
# Runs every fuzz target of the module for a short time each.
set -eu
time="${1:-5s}"
out=$(mktemp)
trap 'rm -f "$out"' EXIT
grep -rl --include='*_test.go' '^func Fuzz' . | sort | while read -r file; do
	dir=$(dirname "$file")
	sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\)(.*/\1/p' "$file" | while read -r target; do
		echo "fuzz $dir $target"
		go test -run '^$' -fuzz "^$target\$" -fuzztime "$time" -fuzzminimizetime 10x "$dir" </dev/null >"$out" 2>&1 && continue
		# When the time is up, go test sometimes reports its own deadline as the
		# target's failure. A real failure names the input that it wrote.
		if grep -q 'context deadline exceeded' "$out" && ! grep -qE 'Failing input|panic|_test\.go:' "$out"; then
			echo "fuzz $dir $target: ended by its own deadline, no failing input"
			continue
		fi
		cat "$out"
		exit 1
	done || exit 1
done || exit 1
