#!/bin/bash
# demo.sh [FILE]: from a fresh clone, installs what is missing, builds a release and shows what cow does
# with FILE, or else with a SQLite database made of this machine's own package list. FILE itself is
# only read. Everything happens in a directory of its own, which is gone at the end.
set -euo pipefail

if (( $# > 1 )) || [[ ${1:-} == -* ]]; then
  echo "usage: tools/demo.sh [FILE]" >&2
  exit 2
fi
file=""
if (( $# == 1 )); then
  file=$(realpath -- "$1")
  [[ -f $file && -r $file ]] || { echo "demo: $1: not a file that can be read" >&2; exit 1; }
fi

cd "$(dirname "${BASH_SOURCE[0]}")/.."
source=$PWD
tools/install_packages.sh
log=$(mktemp)
trap 'rm -f "$log"' EXIT
echo "Building cowfs and cowctl into build/ (a few minutes the first time)"
build() { cmake --preset release && cmake --build build --target cowfs cowctl; }
build >"$log" 2>&1 || { cat "$log" >&2; echo "demo: the build failed" >&2; exit 1; }
[[ -r /dev/fuse && -w /dev/fuse ]] || {
  echo "demo: /dev/fuse cannot be opened; a mount needs it (modprobe fuse, or run as root)" >&2
  exit 1
}

work=$(mktemp -d "${TMPDIR:-/tmp}/cow.XXXXXX")
daemon=""
unmount() {
  [[ -n $daemon ]] || return 0
  cd "$work"
  if mountpoint -q mnt; then fusermount3 -u mnt 2>/dev/null || kill "$daemon" 2>/dev/null || true; fi
  wait "$daemon" || true
  daemon=""
}
clean_up() {
  local status=$?
  trap - EXIT
  unmount
  # Where unmounting failed, what is in the mount is not to be deleted file by file.
  cd / && rm -rf --one-file-system "$work" "$log"
  exit "$status"
}
trap clean_up EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM
cd "$work"
PATH=$source/build/bin:$PATH
export PATH

if [[ -t 1 ]]; then bold=$'\e[1m' dim=$'\e[2m' plain=$'\e[0m'; else bold="" dim="" plain=""; fi
step() { printf '\n%s%s%s\n' "$bold" "$*" "$plain"; }
# Words as a shell would take them: those that need it are quoted.
quoted() {
  local word line=""
  for word in "$@"; do
    [[ $word =~ ^[A-Za-z0-9_@%+=:,./-]+$ ]] || word=${word@Q}
    line+=${line:+ }$word
  done
  printf '%s' "$line"
}
# Shows a command, runs it, and says how long it took.
run() {
  local start=${EPOCHREALTIME/./} output status=0 end
  printf '  $ %s\n' "$(quoted "$@")"
  output=$("$@" 2>&1) || status=$?
  end=${EPOCHREALTIME/./}
  [[ -z $output ]] || sed "s/^/    /" <<<"$output"
  (( status == 0 )) || { echo "demo: this command failed" >&2; exit 1; }
  printf '    %s%d ms%s\n' "$dim" $(( (end - start) / 1000 )) "$plain"
}
human() { numfmt --to=iec --suffix=B --format=%.1f "$1"; }
rows() { sqlite3 -readonly "$1" "SELECT count(*) FROM \"$table\""; }
digest() { sha256sum <"$1" | cut -c1-16; }
# Two versions of the file, read at their own paths, side by side.
compare() {
  line() { printf "    %-8s%$(( ${#first} + 4 ))s%$(( ${#second} + 4 ))s\n" "$@"; }
  local first=$(printf '%16s' "$1") second=$(printf '%16s' "$2")
  line "" "$1" "$2"
  [[ -z $table ]] || line "rows" "$(rows "mnt/$1")" "$(rows "mnt/$2")"
  line "sha256" "$(digest "mnt/$1")" "$(digest "mnt/$2")"
}

# The table with the most rows of a database; nothing for other files.
largest_table() {
  [[ $(head -c 15 -- "$1" | tr -d '\0') == "SQLite format 3" ]] || return 0
  sqlite3 -readonly "$1" "SELECT name FROM sqlite_master WHERE type = 'table'
      AND name NOT LIKE 'sqlite_%' AND sql NOT LIKE 'CREATE VIRTUAL%'
      AND sql NOT LIKE '%WITHOUT ROWID%'" 2>/dev/null |
    while IFS= read -r name; do
      [[ $name == *'"'* ]] ||
        printf '%s\t%s\n' "$(sqlite3 -readonly "$1" "SELECT count(*) FROM \"$name\"")" "$name"
    done | sort -rn | head -n 1 | cut -f 2
}

if [[ -z $file ]]; then
  file=$work/packages.db
  dpkg-query -W -f='${binary:Package}\t${Version}\t${Installed-Size}\t${Section}\n' >packages.tsv
  # The lists of files stand in the order of the names, an empty line between them.
  cut -f 1 packages.tsv | xargs dpkg-query -L |
    awk -F '\t' 'NR == FNR { name[NR] = $1; next }
                 $0 == "" { n++; next } /^\// { print name[n + 1] "\t" $0 }' packages.tsv - >files.tsv
  sqlite3 "$file" \
    "CREATE TABLE package (name TEXT, version TEXT, installed_kib INTEGER, section TEXT);
     CREATE TABLE file (package TEXT, path TEXT);" \
    ".mode ascii" '.separator "\t" "\n"' ".import packages.tsv package" ".import files.tsv file" \
    "CREATE INDEX file_by_package ON file (package);"
  echo "Made packages.db of this machine's package list:" \
    "$(wc -l <packages.tsv) packages, $(wc -l <files.tsv) files, $(human "$(stat -c %s "$file")")."
fi
name=$(basename -- "$file")
size=$(stat -Lc %s -- "$file")
table=$(largest_table "$file")

step "1. A volume is one file; mounted, it is a directory."
run cowctl create demo.cow
mkdir mnt
printf '  $ cowfs demo.cow mnt\n'
cowfs -f demo.cow mnt >cowfs.log 2>&1 &
daemon=$!
until mountpoint -q mnt; do
  kill -0 "$daemon" 2>/dev/null || { cat cowfs.log >&2; echo "demo: cowfs ended" >&2; exit 1; }
  sleep 0.05
done

step "2. $name ($(human "$size")) goes in, and is kept as it is now."
run cp -- "$file" "mnt/$name"
run cowctl snapshot "mnt/$name@before"

step "3. The live file changes; the snapshot beside it does not. Both are read in place."
if [[ -n $table ]]; then
  run sqlite3 "mnt/$name" \
    "DELETE FROM \"$table\" WHERE rowid <= (SELECT max(rowid) / 10 FROM \"$table\")"
elif (( size > 0 )); then
  length=$(( size / 10 > 0 ? size / 10 : 1 ))
  printf '  $ %s\n' "overwrite $(human "$length") in the middle of $(quoted "mnt/$name")"
  head -c "$length" /dev/urandom |
    dd of="mnt/$name" bs=64K oflag=seek_bytes seek=$(( (size - length) / 2 )) conv=notrunc \
      status=none
else
  printf '  $ echo changed >> %s\n' "$(quoted "mnt/$name")"
  echo changed >>"mnt/$name"
fi
compare "$name@before" "$name"

step "4. A clone of the snapshot is a file of its own, to try things on."
run cowctl clone "mnt/$name@before" "mnt/what-if"
compare what-if "$name"

step "5. The live file goes back to the snapshot; what that replaces is kept too."
run cowctl rollback "mnt/$name@before"
kept=$(cowctl list -H "mnt/$name" | cut -f 1 | grep -o '@rollback-.*' | tail -n 1)
compare "$name" "$name$kept"

step "6. What all that takes: EXCLUSIVE is what only that snapshot holds."
run cowctl list --space mnt
printf '    Four versions of %s; the volume takes %s on disk.\n' \
  "$(human "$size")" "$(human $(( $(stat -c '%b * %B' demo.cow) )))"

step "7. Every frame is verified, and the volume unmounted."
run cowctl check mnt
unmount
echo "    Done. To go on by yourself: build/bin/cowctl --help, build/bin/cowfs --help"
