#!/bin/bash
# Runs the crash and model tests of the store with fresh seeds until the time is over or one fails;
# then says how to replay it. Usage: tools/soak.sh [MINUTES]   (10 where not given)
# STORE_TEST names the test binary where it is not in build/.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

minutes=${1:-10}
if ! [[ $minutes =~ ^[0-9]+$ ]]; then
  echo "usage: tools/soak.sh [MINUTES]" >&2
  exit 2
fi
test_binary=${STORE_TEST:-build/tests/store/store_test}
if [[ ! -x $test_binary ]]; then
  cmake --preset release >/dev/null
  cmake --build build -- store_test
fi

log=$(mktemp)
trap 'rm -f "$log"' EXIT

# Runs the test $1 with the environment after it; ends with how to replay it when it fails.
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

end=$((SECONDS + minutes * 60))
rounds=0
points=5000
while ((SECONDS < end)); do
  # 31 bits, spread so that ranges of seeds do not overlap.
  seed=$(((RANDOM << 15 | RANDOM) * 64 + 64))
  round CrashTest.LongRunSurvivesEveryCrash1 COW_CRASH_SEED=$seed COW_CRASH_POINTS=$points
  round 'ModelTest.RandomOperations*' COW_SEED=$seed
  rounds=$((rounds + 1))
  printf '\r%d rounds, %d crash points, %d minutes left ' \
    $rounds $((rounds * points)) $(((end - SECONDS) / 60))
done
echo
echo "no failure in $minutes minutes: $((rounds * points)) crash points, $rounds rounds of the model test"
