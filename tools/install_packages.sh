#!/bin/bash
# Installs the Debian 12 packages that building and testing cow needs; says nothing when all of them
# are there.
set -euo pipefail

packages=(
  g++ cmake ninja-build pkg-config clang clang-format libclang-rt-14-dev git python3
  libabsl-dev libisal-dev liburing-dev libxxhash-dev nlohmann-json3-dev libcli11-dev
  libfuse3-dev fuse3 systemtap-sdt-dev libgtest-dev libgmock-dev libbenchmark-dev
  sqlite3 attr acl util-linux e2fsprogs python3-numpy
)

if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then
  echo "install_packages: this machine has no apt; install the counterparts of these Debian 12" >&2
  echo "packages by hand: ${packages[*]}" >&2
  exit 1
fi

missing=()
for package in "${packages[@]}"; do
  status=$(dpkg-query -W -f='${Status}' "$package" 2>/dev/null || true)
  [[ $status == "install ok installed" ]] || missing+=("$package")
done
(( ${#missing[@]} )) || exit 0

as_root=()
if (( EUID != 0 )); then
  command -v sudo >/dev/null || {
    echo "install_packages: not root and no sudo; as root, run: apt-get install ${missing[*]}" >&2
    exit 1
  }
  as_root=(sudo)
fi

echo "Installing ${missing[*]}"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
install() {
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y --no-install-recommends "${missing[@]}" >"$log" 2>&1
}
# A fresh machine has package lists that are missing or old; fetch them only where needed.
if ! install; then
  "${as_root[@]}" apt-get update -qq >/dev/null || true
  install || { cat "$log" >&2; echo "install_packages: apt-get failed" >&2; exit 1; }
fi
