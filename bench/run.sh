#!/bin/bash
# Every benchmark against its rivals, in one run: a table of ratios, and JSON. See bench/README.md.
#   bench/run.sh [--build FOLDER] [--output FILE] [--folder FOLDER] [--mib N] [--only NAME]...
# NAME: page_io, snapshot_shapes, shapes, commits, many_snapshots, destroy_snapshot, check_rate,
# mapping_snapshots.
# Needs a release build with the benchmarks (made here if it is not there); the parts that compare
# with ext4, XFS and btrfs on loop devices need root and their mkfs, and are left out without.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
names=(page_io snapshot_shapes shapes commits many_snapshots destroy_snapshot check_rate
  mapping_snapshots)
build=build output= folder=${TMPDIR:-/tmp} mib=1024 only=()
usage() {
  sed -n '2,7p' "$0" | sed 's/^# //'
  exit 2
}
while (( $# > 0 )); do
  (( $# > 1 )) || usage
  case $1 in
    --build) build=$2 ;;
    --output) output=$2 ;;
    --folder) folder=$2 ;;
    --mib) mib=$2 ;;
    --only)
      [[ " ${names[*]} " == *" $2 "* ]] || usage
      only+=("$2")
      ;;
    *) usage ;;
  esac
  shift 2
done
(( ${#only[@]} )) || only=("${names[@]}")
[[ -n $output ]] || output=$build/bench.json

cmake -S . -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release >/dev/null
cmake --build "$build" --target benchmarks -- --quiet
if [[ " ${only[*]} " == *" shapes "* ]]; then
  cmake --build "$build" --target cowctl cowfs -- --quiet
fi

work=$(mktemp -d "$folder/cow-bench.XXXXXX")
child= mounts=()
clean_up() {
  trap '' INT TERM HUP
  if [[ -n $child ]]; then
    kill "$child" 2>/dev/null || true
    wait "$child" 2>/dev/null || true
  fi
  local mount
  for mount in "$work"/{mount,ext4,xfs,btrfs}; do
    # Lazily where something has a file open yet: the loop device goes with the last of them.
    if mountpoint -q "$mount" 2>/dev/null; then umount "$mount" 2>/dev/null || umount -l "$mount"; fi
  done
  rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# Runs a command so that a signal to this script ends it as well, at once.
run() {
  "$@" &
  child=$!
  wait "$child"
  child=
}

# Mounts the rivals, those that can be had, as NAME=FOLDER in `mounts`.
mount_rivals() {
  local kind
  (( ${#mounts[@]} == 0 )) || return 0
  for kind in ext4 xfs btrfs; do
    if (( EUID != 0 )) || ! command -v "mkfs.$kind" >/dev/null; then
      echo "$kind on a loop device is left out: needs root and mkfs.$kind" >&2
      continue
    fi
    truncate -s 8G "$work/$kind.img"
    mkdir "$work/$kind"
    if ! "mkfs.$kind" -q "$work/$kind.img" >/dev/null || ! mount -o loop "$work/$kind.img" "$work/$kind"; then
      echo "$kind on a loop device is left out: no loop device, or no such filesystem here" >&2
      continue
    fi
    mounts+=("$kind=$work/$kind")
  done
}

echo "load before: $(cut -d' ' -f1-3 /proc/loadavg), $(nproc) cores, kernel $(uname -r)" >&2
results="$work/results"
for name in "${only[@]}"; do
  case $name in
    shapes)
      mount_rivals
      run python3 bench/shapes.py --cowctl "$(realpath "$build/bin/cowctl")" --work "$work" \
        "${mounts[@]}" >>"$results"
      ;;
    commits)
      mount_rivals
      run "$build/bin/commits" "$work" "${mounts[@]}" >>"$results"
      ;;
    page_io | check_rate) run "$build/bin/$name" "$work" "$mib" >>"$results" ;;
    *) run "$build/bin/$name" "$work" >>"$results" ;;
  esac
done
echo "load after: $(cut -d' ' -f1-3 /proc/loadavg)" >&2
python3 bench/table.py --output "$output" <"$results"
