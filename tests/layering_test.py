#!/usr/bin/env python3
"""The layers, as a test: which folder may include which, and which folders there are.

usage: layering_test.py [ROOT]    checks the tree at ROOT (default: this repository)
       layering_test.py --self    proves that violations are noticed
"""

import pathlib
import re
import sys
import tempfile
import unittest

# The table of cow/README.md. A folder may always include itself; `include` stands for the public
# headers (included as "cow/NAME.h"). Base, the vocabulary of numbers and errors, goes wherever control,
# which speaks it, goes.
MAY_INCLUDE = {
    "cow/base": set(),
    "cow/os": {"cow/base"},
    "cow/format": {"cow/base"},
    "cow/store": {"cow/base", "cow/os", "cow/format"},
    "cow/fs": {"cow/base", "cow/format", "cow/store"},
    "cow/vm": {"cow/base", "cow/os"},
    "cow/move": {"cow/base", "cow/os", "cow/format", "cow/store", "cow/fs"},
    "cow/control": {"cow/base"},
    "cow/core": {"cow/base", "cow/os", "cow/format", "cow/store", "cow/fs", "cow/vm", "cow/move",
                 "cow/control", "include"},
    "include": set(),
    "fuse": {"cow/base", "cow/fs", "cow/control", "include"},
    "tools": {"cow/base", "cow/control", "include"},
    "bench": {"include"},
    "tests/examples": {"include"},
}
# Tests look into every layer; examples do not, they are what a user would write.
ANYTHING = "tests"

TOP_LEVEL = {"cow", "fuse", "include", "tests", "bench", "tools", "cmake", ".ci", ".git", "build"}

SOURCES = {".cc", ".h", ".c"}
INCLUDE = re.compile(r'^\s*#\s*include\s*(["<])([^">]+)[">]')
# What a public header must not bring in: the kernel, and locks.
PRIVATE_TO_LIBRARY = re.compile(
    r"^(sys/|linux/|fcntl\.h|unistd\.h|pthread\.h|mutex$|shared_mutex$|thread$|liburing|"
    r"absl/synchronization/|isa-l)")


def folder_of(path, root):
    """The layer that a source file belongs to, or None."""
    parts = path.relative_to(root).parts
    if parts[0] == "cow" or parts[:2] == ("tests", "examples"):
        return "/".join(parts[:2]) if len(parts) > 2 else None
    return parts[0]


def target_of(header, root):
    """The layer that an #include names, or None for a header of a system or another project."""
    if (root / "include" / header).is_file():
        return "include"
    first, _, rest = header.partition("/")
    if first == "cow" and "/" in rest:
        return "cow/" + rest.split("/")[0]
    if first == "tests" and rest.startswith("examples/"):
        return "tests/examples"
    if first in TOP_LEVEL and "/" in header:
        return first
    if first == "cow":  # a public header that does not exist is an edge to `include` still
        return "include"
    return None


def sources(root):
    for top in sorted(TOP_LEVEL - {".git", "build", ".ci", "cmake"}):
        for path in sorted((root / top).rglob("*")):
            if path.suffix in SOURCES and path.is_file():
                yield path


def check(root):
    """All violations in the tree, as lines of text."""
    found = []
    for entry in sorted(root.iterdir()):
        if entry.is_dir() and entry.name not in TOP_LEVEL:
            # Folders that git ignores or does not know are nobody's architecture.
            if not any(path.suffix in SOURCES for path in entry.rglob("*")):
                continue
            found.append(f"{entry.name}/: no such top-level folder in the design")
    for path in sources(root):
        folder = folder_of(path, root)
        name = path.relative_to(root)
        if folder is None or (folder not in MAY_INCLUDE and folder != ANYTHING):
            found.append(f"{name}: lies in no layer of the design")
            continue
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
            match = INCLUDE.match(line)
            if not match:
                continue
            header = match.group(2)
            if folder == "include" and PRIVATE_TO_LIBRARY.match(header):
                found.append(f"{name}:{number}: a public header must not include {header}")
            target = target_of(header, root)
            if target is None and match.group(1) == '"' and (path.parent / header).is_file():
                # A header named without its folder hides the edge from the reader.
                if folder not in ("tests", "tests/examples"):
                    found.append(f'{name}:{number}: write "{header}" with its path from the root')
                continue
            if target is None or folder == ANYTHING or target == folder:
                continue
            if target not in MAY_INCLUDE[folder]:
                found.append(f"{name}:{number}: {folder} may not include {target} ({header})")
    return found


class SelfTest(unittest.TestCase):
    def violations(self, **files):
        with tempfile.TemporaryDirectory() as name:
            root = pathlib.Path(name)
            for path, text in files["files"].items():
                (root / path).parent.mkdir(parents=True, exist_ok=True)
                (root / path).write_text(text)
            return check(root)

    def test_accepts_the_edges_of_the_table(self):
        self.assertEqual([], self.violations(files={
            "cow/base/types.h": "#include <cstdint>\n",
            "cow/store/store.cc": '#include "cow/base/types.h"\n#include "cow/store/node.h"\n',
            "cow/core/volume.cc": '#include "cow/volume.h"\n#include "cow/vm/mapping.h"\n',
            "include/cow/volume.h": '#include "absl/status/status.h"\n#include "cow/error.h"\n',
            "include/cow/error.h": "",
            "tools/cowctl.cc": '#include "cow/control/message.h"\n#include "cow/volume.h"\n',
            "tests/store/any_test.cc": '#include "cow/vm/mapping.h"\n',
            "build/x.cc": '#include "anything/at/all.h"\n',
        }))

    def test_notices_edges_that_are_not_in_the_table(self):
        for path, header in [
                ("cow/base/a.h", "cow/os/file.h"),
                ("cow/format/a.h", "cow/os/file.h"),
                ("cow/store/a.cc", "cow/fs/tree.h"),
                ("cow/fs/a.cc", "cow/os/file.h"),
                ("cow/fs/a.cc", "cow/vm/mapping.h"),
                ("cow/vm/a.cc", "cow/format/node.h"),
                ("cow/vm/a.cc", "cow/store/store.h"),
                ("cow/control/a.cc", "cow/volume.h"),
                ("include/cow/a.h", "cow/base/types.h"),
                ("fuse/a.cc", "cow/store/store.h"),
                ("tools/a.cc", "cow/store/store.h"),
                ("bench/a.cc", "cow/control/message.h"),
                ("tests/examples/a.cc", "cow/store/store.h"),
                ("cow/core/a.cc", "tests/support/seed.h")]:
            with self.subTest(path=path, header=header):
                found = self.violations(files={path: f'#include "{header}"\n'})
                self.assertEqual(1, len(found), found)
                self.assertIn(header, found[0])

    def test_notices_the_kernel_and_locks_in_public_headers(self):
        for header in ["sys/mman.h", "linux/fs.h", "mutex", "absl/synchronization/mutex.h"]:
            with self.subTest(header=header):
                self.assertEqual(1, len(self.violations(
                    files={"include/cow/a.h": f"#include <{header}>\n"})))

    def test_notices_folders_that_the_design_does_not_have(self):
        self.assertEqual(1, len(self.violations(files={"src/a.cc": ""})))
        self.assertEqual(1, len(self.violations(files={"cow/util/a.h": ""})))
        self.assertEqual(1, len(self.violations(files={"cow/loose.h": ""})))

    def test_notices_a_header_named_without_its_folder(self):
        self.assertEqual(1, len(self.violations(
            files={"cow/base/a.h": "", "cow/base/b.h": '#include "a.h"\n'})))


def main():
    if sys.argv[1:] == ["--self"]:
        unittest.main(argv=sys.argv[:1])
    here = pathlib.Path(__file__).resolve().parent.parent
    root = pathlib.Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else here
    found = check(root)
    print("\n".join(found) or "layering: every include is in the table")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
