#!/usr/bin/env bash
# Installs what the tests need, builds everything and runs all tests.
#   launch/test.sh                  everything that CI runs: unit, multi-rank and system tests, then sanitizers
#   launch/test.sh -R tokenizer     arguments go to ctest
#   HEDDLE_SLOW=1 launch/test.sh    the slow ones as well (label "slow")
# The sanitizer builds (address and undefined behaviour for the unit tests, threads for parallel/) follow;
# HEDDLE_SANITIZERS=0 leaves them out.
set -euo pipefail
cd "$(dirname "$0")/.."

launch/install-dependencies.sh --test
if [ "$(id -u)" -eq 0 ]; then
  export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
fi
build=${HEDDLE_BUILD:-build}
HEDDLE_TARGETS=all launch/build.sh -DHEDDLE_TESTS=ON

left_out=()
[ "${HEDDLE_SLOW:-0}" = 1 ] || left_out+=(slow)
if ! nvidia-smi -L >/dev/null 2>&1; then
  echo "no GPU here: the tests with label gpu are left out; those on emulated GPUs run"
  left_out+=(gpu)
fi
exclude=()
[ ${#left_out[@]} -gt 0 ] && exclude=(-LE "^($(IFS='|'; echo "${left_out[*]}"))$")
ctest --test-dir "$build" --output-on-failure -j "$(nproc)" "${exclude[@]}" "$@"

if [ "${HEDDLE_SANITIZERS:-1}" = 1 ] && [ $# -eq 0 ]; then
  echo "the unit tests once more, under AddressSanitizer and UndefinedBehaviorSanitizer"
  programs="test_emulator test_kernels test_parallel test_trainer"
  HEDDLE_BUILD=$build-sanitize HEDDLE_TARGETS=$programs launch/build.sh -DHEDDLE_SANITIZE=ON -DHEDDLE_CUDA=OFF \
    -DCMAKE_BUILD_TYPE=RelWithDebInfo
  for program in $programs; do
    "$build-sanitize/tests/$program" --gtest_brief=1
  done
  echo "heddle's own threads under ThreadSanitizer"
  HEDDLE_BUILD=$build-threads HEDDLE_TARGETS=test_parallel launch/build.sh -DHEDDLE_SANITIZE_THREAD=ON -DHEDDLE_CUDA=OFF \
    -DCMAKE_BUILD_TYPE=RelWithDebInfo
  # Without the tests of OpenMP's threads, whose barriers ThreadSanitizer does not know.
  TSAN_OPTIONS=ignore_noninstrumented_modules=1 "$build-threads/tests/test_parallel" --gtest_brief=1 --gtest_filter='-CpuDevice.*'
fi
