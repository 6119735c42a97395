#!/usr/bin/env bash
# Installs what the tests need, builds everything and runs all tests.
#   launch/test.sh                  everything that CI runs: unit, multi-rank and system tests, then sanitizers
#   launch/test.sh -R tokenizer     arguments go to ctest
#   HEDDLE_SLOW=1 launch/test.sh    the slow ones as well (label "slow")
# The sanitizer build (address and undefined behaviour) covers the unit tests; HEDDLE_SANITIZERS=0 leaves it out.
set -euo pipefail
cd "$(dirname "$0")/.."

launch/install-dependencies.sh --test
if [ "$(id -u)" -eq 0 ]; then
  export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
fi
build=${HEDDLE_BUILD:-build}
HEDDLE_TARGETS=all launch/build.sh -DHEDDLE_TESTS=ON

slow=(-LE slow)
[ "${HEDDLE_SLOW:-0}" = 1 ] && slow=()
ctest --test-dir "$build" --output-on-failure -j "$(nproc)" "${slow[@]}" "$@"

if [ "${HEDDLE_SANITIZERS:-1}" = 1 ] && [ $# -eq 0 ]; then
  echo "the unit tests once more, under AddressSanitizer and UndefinedBehaviorSanitizer"
  HEDDLE_BUILD=$build-sanitize HEDDLE_TARGETS=unit_tests launch/build.sh -DHEDDLE_SANITIZE=ON -DCMAKE_BUILD_TYPE=RelWithDebInfo
  ctest --test-dir "$build-sanitize" --output-on-failure -j "$(nproc)" -L unit "${slow[@]}"
fi
