#!/usr/bin/env bash
# mpirun with what heddle's ranks need; all arguments go to heddle.
#   launch/run.sh -np 4 train configs/gpt2-small.cfg --tensor-parallel 2 --data my.txt
# Sets: cores shared out by heddle itself (mpirun would bind two ranks to one core each and starve their threads),
# 60 s between SIGTERM and SIGKILL so that Ctrl-C saves a checkpoint, and lost hosts noticed in seconds.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)

ranks=1
if [ "${1:-}" = -np ] || [ "${1:-}" = -n ]; then
  ranks=${2:?"run.sh: -np needs a number of ranks"}
  shift 2
fi
export OMPI_MCA_odls_base_sigkill_timeout=60
export OMPI_MCA_oob_tcp_keepalive_time=2 OMPI_MCA_oob_tcp_keepalive_intvl=1 OMPI_MCA_oob_tcp_keepalive_probes=3
if [ "$(id -u)" -eq 0 ]; then  # containers run as root; mpirun wants to be told twice
  export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
fi
exec mpirun -np "$ranks" --bind-to none --oversubscribe "${HEDDLE:-$root/build/heddle}" "$@"
