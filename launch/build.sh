#!/usr/bin/env bash
# Configures and builds heddle in build/ (or $HEDDLE_BUILD); further arguments go to cmake.
#   launch/build.sh                              the binary: build/heddle
#   HEDDLE_TARGETS=all launch/build.sh -DHEDDLE_TESTS=ON
set -euo pipefail
cd "$(dirname "$0")/.."

build=${HEDDLE_BUILD:-build}
cmake -S . -B "$build" -G Ninja "$@" >"$build.log" 2>&1 || { cat "$build.log" >&2; exit 1; }
rm -f "$build.log"
# shellcheck disable=SC2086  # several targets are several words
cmake --build "$build" --target ${HEDDLE_TARGETS:-heddle}
