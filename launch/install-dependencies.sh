#!/usr/bin/env bash
# Installs what heddle needs from Debian's or Ubuntu's packages (Debian 12 and 13, Ubuntu 24.04).
#   launch/install-dependencies.sh           to build and run
#   launch/install-dependencies.sh --test    to run the tests as well
#   launch/install-dependencies.sh PACKAGE.. these too
# Says what it will install; does nothing if everything is there. Needs root or sudo only if something is missing.
set -euo pipefail

packages=(g++ cmake ninja-build pkg-config git ca-certificates
  libopenmpi-dev openmpi-bin          # ranks: mpirun and MPI
  libdnnl-dev                         # oneDNN: matrix products on the CPU
  libboost-program-options-dev        # flags and config files
  libfmt-dev nlohmann-json3-dev zlib1g-dev libzstd-dev libpcre2-dev libicu-dev libxxhash-dev libhwloc-dev
  gnuplot-nox)                        # heddle plot
for argument in "$@"; do
  if [ "$argument" = --test ]; then packages+=(libgtest-dev strace); else packages+=("$argument"); fi
done

command -v apt-get >/dev/null || {
  echo "install-dependencies: no apt-get here; install the equivalents of: ${packages[*]}" >&2
  exit 1
}
missing=()
for package in "${packages[@]}"; do
  dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || missing+=("$package")
done
[ ${#missing[@]} -eq 0 ] && exit 0

as_root=()
if [ "$(id -u)" -ne 0 ]; then
  command -v sudo >/dev/null || {
    echo "install-dependencies: run as root, or install sudo; missing packages: ${missing[*]}" >&2
    exit 1
  }
  as_root=(sudo)
fi
echo "installing with apt: ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
"${as_root[@]}" apt-get update -q
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}"
