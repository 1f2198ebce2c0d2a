#!/usr/bin/env python3
"""Proves that the crash tests find bugs: puts one into the store, and they must fail.

BUILD is a Ninja build with store_test in it; with WORD only the mutations that have it in their name
are tried. N are tried beside each other, one on each core where it is not given.

Each mutation is one text of one source, and what replaces it. The source is compiled and store_test
linked with the commands of the build, in a temporary directory; the build stays as it is. A mutation
that no crash test notices is a failure of the harness: give it a workload that does. A text that is
not in its source any more is a failure too: the table follows the code.

Most of the time would go to reading headers: so they are compiled once, for all.
"""

import argparse
import concurrent.futures
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from typing import NamedTuple

TEST = "tests/store/store_test"
ARCHIVE = "cow/store/libcow_store.a"
# Few points of many workloads: about 8 s where nothing is wrong.
POINTS = 1200
STRIDE = 29
# A mutation may also never end, which fails as well.
TIMEOUT = 120


class Mutation(NamedTuple):
    name: str
    why: str  # what it breaks
    file: str
    text: str
    replacement: str
    first: str = ""  # the crash test that is run before all, as it is known to notice


MUTATIONS = [
    Mutation("no flush before the superblock",
             "the superblock may be on the disk before what it refers to",
             "commit.cc",
             "  if (plan.superblock.flushed.value() == 0) COW_RETURN_IF_ERROR(file_->Flush());\n",
             ""),
    Mutation("no flush after the superblock",
             "a commit is acknowledged that is not on the disk",
             "commit.cc",
             "  COW_RETURN_IF_ERROR(WriteSuperblock(plan.superblock));\n"
             "  return file_->Flush();\n",
             "  return WriteSuperblock(plan.superblock);\n"),
    Mutation("no flush at open",
             "what the superblock of a killed process does not refer to is reused before it is durable",
             "recover.cc",
             "  return file_->Flush();\n",
             "  return absl::OkStatus();\n"),
    Mutation("the newest superblock believed",
             "a commit with one flush may lack what it refers to",
             "recover.cc",
             "  return holds.value_or(true) ? slots.newest : 1 - slots.newest;\n",
             "  return slots.newest;\n"),
    Mutation("data not looked at",
             "a commit with one flush may lack pages",
             "recover.cc",
             "    if (IsYoung(entry) && seen_",
             "    if (entry.has_children() && IsYoung(entry) && seen_"),
    Mutation("counts not looked at",
             "a commit with one flush may lack counts",
             "recover.cc",
             "{s.trees.root, s.catalog.root, s.orphans.root, s.counts}",
             "{s.trees.root, s.catalog.root, s.orphans.root}"),
    Mutation("the count log not looked at",
             "a commit with one flush may lack references",
             "recover.cc",
             "    if (!LogHolds(s.count_log.tail, /*of_counts=*/true)) return false;\n",
             ""),
    Mutation("the free log not looked at",
             "a commit with one flush may lack what is free",
             "recover.cc",
             "    if (!LogHolds(s.free_log.tail, /*of_counts=*/false)) return false;\n",
             ""),
    Mutation("children looked at that a reaped node has lost",
             "they are in use again: a commit that was acknowledged is given up",
             "recover.cc",
             "AddChildren(reaped.node, reaped.next);\n",
             "AddChildren(reaped.node);\n"),
    Mutation("what a crash left of a superblock stays",
             "torn twice, it may be whole: a lost commit comes back",
             "recover.cc",
             "    if (read.ok() && read->generation < superblock.generation) continue;\n",
             "    continue;\n"),
    Mutation("the size of the volume not looked at",
             "a commit with one flush may lack its end",
             "recover.cc",
             "    if (!size.ok() || (whole_ && *size < s.total_frames * kPageSize)) return false;\n",
             ""),
    Mutation("frames handed out not in the superblock",
             "their counts are not written either: they look free after an open",
             "allocator.cc",
             "    superblock.uncounted.push_back({FrameNumber(begin), end - begin});\n",
             "    if (end == 0) superblock.uncounted.push_back({FrameNumber(begin), 0});\n"),
    Mutation("counts that changed not written",
             "the log says that they were",
             "allocator.cc",
             "  if (all || counts_changed_ || ",
             "  if (all || "),
    Mutation("one copy of the superblock",
             "one frame that rots loses a commit",
             "commit.cc",
             "for (int copy : {0, 1}) {\n    const FrameNumber frame = format::SuperblockFrame(slot,",
             "for (int copy : {0}) {\n    const FrameNumber frame = format::SuperblockFrame(slot,"),
    Mutation("the same superblock slot again",
             "a torn superblock leaves no older one",
             "commit.cc",
             "const int slot = 1 - durable_slot_;",
             "const int slot = durable_slot_;"),
    Mutation("a superblock that is not made good at open",
             "after a kill between its copies there is one copy",
             "recover.cc",
             "    file_->Write(OffsetOf(frame), format::EncodeSuperblock(superblock, frame)).IgnoreError();\n",
             "    (void)frame;\n"),
    Mutation("the generation of the superblock again after open",
             "frames of the last commit look like new ones and are overwritten in place",
             "open.cc",
             "  generation_ = slots.slot[slots.newest]->generation.value() + 1;\n",
             "  generation_ = slots.slot[slots.newest]->generation.value();\n"),
    Mutation("two commits of one generation",
             "which superblock is the newer one cannot be told",
             "commit.cc",
             "  if (generation_.load() - 1 == durable_.load()) generation_.fetch_add(1);\n",
             ""),
    Mutation("nodes of earlier seals not written",
             "a snapshot between two commits refers to nodes that are not on the disk",
             "seal.cc",
             "sealed_.insert(sealed_.end(), sealed.begin(), sealed.end());",
             "sealed_ = std::move(sealed);"),
    Mutation("tables of the superblock sealed first",
             "they lack what the seal of trees changes in them",
             "seal.cc",
             "for (const bool of_superblock : {false, true})",
             "for (const bool of_superblock : {true, false})"),
    Mutation("a table not marked dirty",
             "its changes are in no commit",
             "table.cc",
             "  absl::MutexLock lock(&mu);\n  MarkDirty();\n",
             "  absl::MutexLock lock(&mu);\n"),
    Mutation("overwritten in place since the last commit",
             "a snapshot that is not committed yet changes with its head",
             "write.cc",
             "write.old[i].birth() == generation;",
             "write.old[i].birth().value() > core.durable_.load();"),
    Mutation("an addition not logged",
             "the frames of a snapshot are freed with its head",
             "share.cc",
             "  if (!record.root.empty()) core_->LogCount(record.root, CountOperation::kAdd);\n"
             "  return std::shared_ptr<Object>",
             "  return std::shared_ptr<Object>"),
    Mutation("an addition of a shared range not logged",
             "the pages are freed with the file that they came from",
             "share.cc",
             "      core.LogCount(shared[i], CountOperation::kAdd);\n",
             ""),
    Mutation("a drop not logged",
             "what is overwritten is never freed",
             "fold.cc",
             "    count_log_.Append(old[i].With(CountOperation::kDrop), generation());\n",
             ""),
    Mutation("a node's copy not logged",
             "what the copy refers to is counted once for two",
             "radix.cc",
             "    core_.LogCount(slot, CountOperation::kShare);\n",
             ""),
    Mutation("children of a copied node not counted",
             "they are freed with the first of two nodes",
             "fold.cc",
             "      if (count > 1) {\n",
             "      if (count > 2) {\n"),
    Mutation("a freed frame reused one commit early",
             "the last commit still refers to it",
             "fold.cc",
             "  const Generation durable(durable_.load());\n",
             "  const Generation durable = generation();\n",
             first="LongRunSurvivesEveryCrash3"),
    Mutation("frames of the count log released before the commit is durable",
             "the last commit's log is overwritten",
             "commit.cc",
             "    plan.consumed = count_log_.TakeConsumed();\n",
             "    for (FrameNumber frame : count_log_.TakeConsumed()) allocator_.ReleaseLogFrame(frame);\n"),
    Mutation("frames of the free log released before the commit is durable",
             "the last commit's log is overwritten",
             "commit.cc",
             "  plan.consumed.insert(plan.consumed.end(), consumed.begin(), consumed.end());\n",
             "  for (FrameNumber frame : consumed) allocator_.ReleaseLogFrame(frame);\n",
             first="SurvivesCrashesWhileFramesAreSoonUsedAgain"),
    Mutation("frames of the logs free after open",
             "they have no count: nothing else says that they are in use",
             "allocator.cc",
             "  log_frames_.insert(log_frames.begin(), log_frames.end());\n",
             "  (void)log_frames;\n"),
    Mutation("what is being reaped forgotten",
             "a crash leaks the rest of a destroyed tree",
             "commit.cc",
             "  s.reaped = reaped_;\n",
             ""),
    Mutation("counts overwritten in place",
             "a torn write loses the counts of the last commit",
             "count_table.cc",
             "!old.empty() && old.frame() == pair ? pair + 1 : pair;",
             "old.empty() ? pair : old.frame();"),
    Mutation("orphans not freed after open",
             "a file that was open and removed at a crash is never freed",
             "open.cc",
             "    closed_orphans_.push_back(**orphan);\n",
             ""),
]


class Build:
    """The commands of a Ninja build, to be run with another source."""

    def __init__(self, root, build):
        self.root = root
        self.build = build
        listed = subprocess.run(["ninja", "-C", build, "-t", "commands", TEST], check=True,
                                capture_output=True, text=True).stdout
        self.commands = listed.splitlines()

    def command(self, pattern):
        found = [command for command in self.commands if re.search(pattern, command)]
        if len(found) != 1:
            sys.exit(f"{len(found)} commands of the build match {pattern}")
        # The link command is wrapped in `: && ... && :`.
        return shlex.split(found[0].removeprefix(": && ").removesuffix(" && :"))

    def run(self, command):
        done = subprocess.run(command, cwd=self.build, capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(done.stdout + done.stderr)

    def compile_command(self, name, source, made):
        """The command that compiles cow/store/NAME, for another source."""
        original = self.root / "cow/store" / name
        command = self.command(rf" -c {re.escape(str(original))}$")
        command[command.index("-o") + 1] = str(made)
        command[command.index("-MF") + 1] = f"{made}.d"
        command[-1] = str(source)
        # Crashes are found by what is written, not by how fast.
        return ["-O1" if word == "-O3" else word for word in command]

    def compile_headers(self, directory, names):
        """All that these sources include, compiled once, for mutant()."""
        lines = []
        for name in names:
            source = (self.root / "cow/store" / name).read_text()
            lines += re.findall(r"^#include .*$", source, re.MULTILINE)
        self.headers = directory / "headers.h"
        self.headers.write_text("\n".join(dict.fromkeys(lines)) + "\n")
        command = self.compile_command(names[0], self.headers, directory / "headers.h.gch")
        command[-2:] = ["-x", "c++-header", "-c", str(self.headers)]
        self.run(command)

    def mutant(self, directory, name, text):
        """A store_test in which cow/store/NAME is `text`."""
        mutated, made, test = directory / name, directory / f"{name}.o", directory / "store_test"
        mutated.write_text(text)
        command = self.compile_command(name, mutated, made)
        command[-2:-2] = ["-include", str(self.headers)]
        self.run(command)
        # What comes before the archive is not taken from it.
        link = self.command(rf" -o {TEST} ")
        link[link.index("-o") + 1] = str(test)
        link.insert(link.index(ARCHIVE), str(made))
        if shutil.which("ld.gold"):
            link.insert(1, "-fuse-ld=gold")
        self.run(link)
        return test


def crash(test, names="*"):
    """Runs the crash tests of these names: whether they passed, and what they said."""
    command = ["env", f"COW_CRASH_POINTS={POINTS}", f"COW_CRASH_STRIDE={STRIDE}", str(test),
               f"--gtest_filter=CrashTest.{names}", "--gtest_fail_fast"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace",
                              timeout=TIMEOUT)
    except subprocess.TimeoutExpired:
        return False, "it does not end"
    if done.returncode == 0:
        return True, ""
    if done.returncode < 0:
        return False, f"signal {-done.returncode}"
    # A program that cannot run at all has noticed nothing.
    if "[  FAILED  ] CrashTest." not in done.stdout:
        raise RuntimeError(done.stdout + done.stderr)
    test = re.search(r"^\[  FAILED  \] CrashTest\.(\w+)", done.stdout, re.MULTILINE).group(1)
    said = re.search(r"^Expected: true\n(.*)", done.stdout, re.MULTILINE)
    return False, f"{test}: " + (said.group(1).split("COW_CRASH")[0][:100] if said else "")


def try_one(build, mutation):
    """What is wrong with the mutation or with the harness, or "", what noticed it, and seconds."""
    begun = time.monotonic()
    original = (build.root / "cow/store" / mutation.file).read_text()
    if original.count(mutation.text) != 1:
        return f"its text is {original.count(mutation.text)} times in {mutation.file}", "", 0
    with tempfile.TemporaryDirectory(prefix="mutation") as name:
        mutated = original.replace(mutation.text, mutation.replacement)
        try:
            test = build.mutant(pathlib.Path(name), mutation.file, mutated)
            passed, said = crash(test, mutation.first) if mutation.first else (True, "")
            if passed:
                passed, said = crash(test)
        except RuntimeError as error:
            return str(error), "", 0
    wrong = f"no crash test notices it: {mutation.why}" if passed else ""
    return wrong, said, time.monotonic() - begun


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", metavar="N", type=int, default=os.cpu_count())
    parser.add_argument("build", metavar="BUILD", type=pathlib.Path)
    parser.add_argument("word", metavar="WORD", nargs="?", default="")
    arguments = parser.parse_args()
    root = pathlib.Path(__file__).resolve().parent.parent.parent
    build = Build(root, arguments.build.resolve())
    tried = [mutation for mutation in MUTATIONS if arguments.word in mutation.name]
    if not tried:
        sys.exit(f"no mutation has {arguments.word} in its name")
    # As it is, it must pass: else what fails below proves nothing.
    passed, said = crash(build.build / TEST)
    if not passed:
        sys.exit(f"the crash tests fail without any mutation: {said}")
    failed = 0
    with tempfile.TemporaryDirectory(prefix="mutation") as name, \
         concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool:
        build.compile_headers(pathlib.Path(name), sorted({mutation.file for mutation in tried}))
        results = pool.map(lambda mutation: try_one(build, mutation), tried)
        for mutation, (wrong, said, took) in zip(tried, results):
            failed += wrong != ""
            print(f"{'FAILED' if wrong else 'caught'}  {took:3.0f} s  {mutation.file}: "
                  f"{mutation.name}: {wrong or said}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
