#!/bin/bash
# Every benchmark against its rivals, in one run: a table of ratios, and JSON.
#   bench/run.sh [--build FOLDER] [--output FILE] [--folder FOLDER] [--mib N]
# Needs a release build with the benchmarks (made here if it is not there); the part that compares
# with XFS and btrfs needs root, mkfs.xfs, mkfs.btrfs and loop devices, and is left out without.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
build=build output=build/bench.json folder=${TMPDIR:-/tmp} mib=1024
while (( $# > 0 )); do
  case $1 in
    --build) build=$2 ;;
    --output) output=$2 ;;
    --folder) folder=$2 ;;
    --mib) mib=$2 ;;
    *) sed -n '2,5p' "$0" | sed 's/^# //'; exit 2 ;;
  esac
  shift 2
done
cmake -S . -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release >/dev/null
cmake --build "$build" --target page_io snapshot_shapes cowctl -- --quiet
work=$(mktemp -d "$folder/cow-bench.XXXXXX")
clean_up() {
  local mount
  for mount in "$work"/xfs "$work"/btrfs; do
    if mountpoint -q "$mount" 2>/dev/null; then umount "$mount"; fi
  done
  rm -rf "$work"
}
trap clean_up EXIT

echo "load before: $(cut -d' ' -f1-3 /proc/loadavg), $(nproc) cores, kernel $(uname -r)" >&2
results="$work/results"
"$build/bin/page_io" "$work" "$mib" >>"$results"
"$build/bin/snapshot_shapes" "$work" >>"$results"
python3 bench/shapes.py --cowctl "$(realpath "$build/bin/cowctl")" --work "$work" >>"$results"
python3 bench/table.py --output "$output" <"$results"
