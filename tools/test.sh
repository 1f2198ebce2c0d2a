#!/bin/bash
# From a fresh clone: installs what is missing, builds a release into build/, runs every test.
# Arguments go to ctest: tools/test.sh -R Store
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

tools/install_packages.sh
cmake --preset release >/dev/null
cmake --build build -- -j2 --quiet
# One line that is rewritten where a person looks on, one line a test in a log.
progress=()
if [[ -t 1 ]]; then progress=(--progress); fi
ctest --test-dir build -j2 --output-on-failure --no-tests=error "${progress[@]}" "$@"
