#!/bin/sh
# Plays the story of this directory in the terminal: real program, scripted
# models, loopback only.
cd "$(dirname "$0")/../.." || exit 1
exec go test ./test/e2e -run '^TestAgency$' -count=1 -v
