#!/bin/bash
# Runs crash and model tests of the store with fresh seeds until one fails; then says how to replay
# it. Usage:
#   tools/soak.sh [MINUTES]        crash points and random operations; 10 minutes where not given
#   tools/soak.sh --points COUNT   crash points, a table of what was run at the end; a million takes
#                                  about 25 minutes of one core
#   tools/soak.sh --kills ROUNDS   kill -9 of a mounted cowfs and of processes that read beside it;
#                                  200 rounds take about 5 minutes; needs root and /dev/fuse
# STORE_TEST and FUSE_TEST name the test binaries where they are not in build/.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

usage() {
  echo "usage: tools/soak.sh [MINUTES] | --points COUNT | --kills ROUNDS" >&2
  exit 2
}

# needs TARGET BINARY: builds it where it is not there.
needs() {
  [[ -x $2 ]] && return
  cmake --preset release >/dev/null
  cmake --build build --target "$1"
}

# Runs the test $1 of the binary with the environment after it; ends with how to replay it when it
# fails.
round() {
  local filter=$1
  shift
  if ! env "$@" "$test_binary" --gtest_filter="$filter" --gtest_brief=1 >"$log" 2>&1; then
    cat "$log"
    echo
    echo "FAILED. Replay with:"
    echo "  $* $test_binary --gtest_filter=$filter"
    grep -o 'COW_CRASH_REPLAY=[0-9:]*' "$log" | sed "s|\$| $test_binary --gtest_filter=CrashTest.ReplaysOnePoint|;s|^|  |" || true
    exit 1
  fi
}

# Spread, so that ranges of seeds hardly overlap. What a workload is follows from the last bits too.
new_seed() { seed=$(((RANDOM << 15 | RANDOM) * 64 + RANDOM % 64 + 1)); }

# Runs crash points in parts of 5000, and keeps the rows of all tables in $rows.
run_points() {
  local wanted=$1 run=0 part elapsed
  # Ended early, it still tells what it did.
  trap 'print_table; exit 130' INT TERM
  while ((run < wanted)); do
    new_seed
    part=$((wanted - run < 5000 ? wanted - run : 5000))
    round CrashTest.LongRunSurvivesEveryCrash1 COW_CRASH_SEED=$seed COW_CRASH_POINTS=$part
    grep '^crash: .*|' "$log" >>"$rows"
    run=$((run + part))
    elapsed=$((SECONDS > 0 ? SECONDS : 1))
    printf '\r%d of %d crash points, %d a second, %d minutes left ' \
      $run "$wanted" $((run / elapsed)) $(((wanted - run) * elapsed / run / 60))
  done
  print_table
}

print_table() {
  echo
  printf '%-22s%12s%12s%14s%12s%12s%12s%12s\n' workload points workloads transactions beside \
    commits kills refused
  sed 's/^crash: //' "$rows" | sort | awk -F ' [|] ' '
    function row(name, sums, i) {
      printf "%-22s%12d%12d%14d%12d%12d%12d%12d\n", name, sums[2], sums[3], sums[4], sums[5],
             sums[6], sums[7], sums[8]
      for (i in sums) sums[i] = 0
    }
    $1 != name && NR > 1 { row(name, one) }
    { name = $1; for (i = 2; i <= 8; ++i) { one[i] += $i; all[i] += $i } }
    END { if (NR > 0) row(name, one); row("all", all) }'
}

run_minutes() {
  local minutes=$1 rounds=0 points=5000 end
  end=$((SECONDS + minutes * 60))
  while ((SECONDS < end)); do
    new_seed
    round CrashTest.LongRunSurvivesEveryCrash1 COW_CRASH_SEED=$seed COW_CRASH_POINTS=$points
    round 'ModelTest.RandomOperations*' COW_SEED=$seed
    rounds=$((rounds + 1))
    printf '\r%d rounds, %d crash points, %d minutes left ' \
      $rounds $((rounds * points)) $(((end - SECONDS) / 60))
  done
  echo
  echo "no failure in $minutes minutes: $((rounds * points)) crash points, $rounds rounds of the model test"
}

mode=--minutes count=10
case $# in
  0) ;;
  1) count=$1 ;;
  2) mode=$1 count=$2 ;;
  *) usage ;;
esac
[[ $count =~ ^[0-9]+$ ]] || usage

log=$(mktemp)
rows=$(mktemp)
trap 'rm -f "$log" "$rows"' EXIT
test_binary=${STORE_TEST:-build/tests/store/store_test}
case $mode in
  --minutes)
    needs store_test "$test_binary"
    run_minutes "$count"
    ;;
  --points)
    needs store_test "$test_binary"
    run_points "$count"
    ;;
  --kills)
    test_binary=${FUSE_TEST:-build/tests/fuse/fuse_test}
    needs fuse_test "$test_binary"
    new_seed
    round 'KillTest.*' COW_KILL_ROUNDS="$count" COW_SEED=$seed
    grep 'rounds' "$log"
    ;;
  *) usage ;;
esac
