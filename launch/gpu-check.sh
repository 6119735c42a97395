#!/usr/bin/env bash
# Tests and measures heddle on the GPUs of this host, and leaves one report.
#   launch/gpu-check.sh [REPORT.md]      default: gpu-report.md
#   HEDDLE_QUICK=1 launch/gpu-check.sh   without compute-sanitizer and the larger models (about 5 minutes instead of 20)
# Needs a GPU with compute capability 8.0 or newer, the CUDA toolkit (nvcc, cuBLAS; compute-sanitizer is used where it
# is there) and, for collectives between GPUs, NCCL. Exits with 1 if a test or a check failed; the report says which.
set -uo pipefail
report=$(realpath -m "${1:-gpu-report.md}")
cd "$(dirname "$0")/.."

if ! nvidia-smi -L >/dev/null 2>&1; then
  echo "gpu-check: nvidia-smi finds no GPU on this host" >&2
  exit 2
fi
if [ "$(id -u)" -eq 0 ]; then
  export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
fi
build=${HEDDLE_BUILD:-build}
failures=()

# section TITLE COMMAND...: the command and what it prints go into the report.
section() {
  local title=$1
  shift
  echo "== $title"
  { echo; echo "## $title"; echo; echo '```'; echo "\$ $*"; } >>"$report"
  if ! "$@" 2>&1 | tail -n "${LINES_KEPT:-200}" | tee -a "$report"; then
    failures+=("$title")
    echo "(failed)" >>"$report"
  fi
  echo '```' >>"$report"
}

{
  echo "# heddle on $(nvidia-smi --query-gpu=name --format=csv,noheader | sort | uniq -c | sed 's/^ *//' | paste -sd, -)"
  echo
  echo "- commit $(git describe --always --dirty --abbrev=12 2>/dev/null || echo unknown), $(date -u +%Y-%m-%d)"
  echo "- driver $(nvidia-smi --query-gpu=driver_version --format=csv,noheader | head -1), $(nvcc --version 2>/dev/null | tail -1)"
} >"$report"

HEDDLE_TARGETS=all launch/build.sh -DHEDDLE_TESTS=ON -DHEDDLE_CUDA=ON || exit 1
section "What heddle sees" "$build/heddle" doctor --device cuda
section "Tests" ctest --test-dir "$build" -L gpu --output-on-failure

if [ "${HEDDLE_QUICK:-0}" != 1 ] && command -v compute-sanitizer >/dev/null; then
  for tool in memcheck racecheck initcheck synccheck; do
    # One precision of each operation: the tools are a hundred times slower than the kernels.
    LINES_KEPT=20 section "compute-sanitizer $tool" compute-sanitizer --tool "$tool" --error-exitcode 9 \
      "$build/tests/test_kernels_gpu" --gtest_filter='*bf16*' --gtest_brief=1
  done
fi

for precision in bf16 fp32; do
  section "Kernels, $precision" "$build/heddle" bench kernels --device cuda --precision "$precision"
done
# A step of 32 sequences of 1024 tokens; its resolved config first, as figures are worth little without it.
small=(--config configs/gpt2-small.cfg --device cuda --precision bf16 --micro-batch 32 --context-length 1024 --steps 20)
section "Resolved config of GPT-2 124M" "$build/heddle" bench step "${small[@]}" --global-batch 32 --print-config
section "GPT-2 124M" "$build/heddle" bench step "${small[@]}" --global-batch 32
if [ "${HEDDLE_QUICK:-0}" != 1 ]; then
  large=(--config configs/gpt2-xl.cfg --device cuda --precision bf16 --global-batch 8 --micro-batch 8
    --context-length 1024 --steps 10)
  section "Resolved config of GPT-2 1.5B" "$build/heddle" bench step "${large[@]}" --print-config
  section "GPT-2 1.5B" "$build/heddle" bench step "${large[@]}"
fi
section "GPT-2 124M without a CUDA graph" "$build/heddle" bench step "${small[@]}" --global-batch 32 --graph=false
gpus=$(nvidia-smi -L | wc -l)
for ((count = 2; count <= gpus; count *= 2)); do
  section "GPT-2 124M on $count GPUs" mpirun -np "$count" "$build/heddle" bench step "${small[@]}" \
    --global-batch $((32 * count))
done

echo
if [ ${#failures[@]} -gt 0 ]; then
  printf 'failed: %s\n' "${failures[@]}" | tee -a "$report"
  exit 1
fi
echo "all checks passed; report: $report"
