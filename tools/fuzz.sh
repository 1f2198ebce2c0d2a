#!/bin/bash
# Runs the fuzz targets until the time is over or one finds something; then says how to replay it.
# Usage: tools/fuzz.sh [MINUTES]   (in all; 60 where not given)
# What it learns stays in build/fuzz/corpus and helps the next run; tests/fuzz/corpus is where it
# begins.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

minutes=${1:-60}
if ! [[ $minutes =~ ^[0-9]+$ ]] || ((minutes == 0)); then
  echo "usage: tools/fuzz.sh [MINUTES]" >&2
  exit 2
fi
cmake --preset fuzz >/dev/null
cmake --build build/fuzz --target decode_fuzzer image_fuzzer -- --quiet

# Inputs of which one takes longer, or more memory, count as found.
limits=(-timeout=30 -rss_limit_mb=2048 -malloc_limit_mb=512)

# Where a piece of memory came from takes long to note, and replaying an input tells it too.
export ASAN_OPTIONS=malloc_context_size=1:quarantine_size_mb=16

# fuzz TARGET LENGTH SECONDS: with inputs of at most LENGTH bytes.
fuzz() {
  local target=$1 length=$2 seconds=$3
  local binary=build/fuzz/tests/fuzz/${target}_fuzzer
  local learned=build/fuzz/corpus/$target found=build/fuzz/found
  local log=build/fuzz/$target.log
  mkdir -p "$learned" "$found"
  if ! "$binary" "${limits[@]}" -max_len="$length" -len_control=0 -max_total_time="$seconds" -print_final_stats=1 \
    -reload=0 -artifact_prefix="$found/$target-" "$learned" "tests/fuzz/corpus/$target" \
    >"$log" 2>&1; then
    tail -n 60 "$log"
    local input
    input=$(sed -n 's/^artifact_prefix=.*Test unit written to //p' "$log" | tail -n 1)
    echo
    echo "FAILED. Replay with:"
    echo "  $binary ${limits[*]} $input"
    echo "Make it shorter with:"
    echo "  $binary ${limits[*]} -minimize_crash=1 -exact_artifact_path=$input.least $input"
    return 1
  fi
  local executions covered
  executions=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
  covered=$(grep -o ' cov: [0-9]*' "$log" | tail -n 1 | tr -dc '0-9')
  echo "  $target: $executions executions, $covered edges covered, nothing found"
}

echo "fuzzing for $minutes minutes; to replay one input: build/fuzz/tests/fuzz/TARGET_fuzzer FILE"
# Decoding is soon explored; the volume never is.
fuzz decode 16400 $((minutes * 60 / 6))
fuzz image 257 $((minutes * 60 - minutes * 60 / 6))
