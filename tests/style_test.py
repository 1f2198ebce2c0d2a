#!/usr/bin/env python3
"""House rules that no compiler knows: sizes, headers, leftovers.

usage: style_test.py [ROOT]    checks the tree at ROOT (default: this repository)
       style_test.py --self    proves that violations are noticed
"""

import pathlib
import re
import sys
import tempfile
import unittest

MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 70

# What may be longer, and why: "path" for a file, "path:function" for a function.
LONG = {
    "tests/fuse/kill_test.cc:KillTest.NothingSyncedAndNoSnapshotIsLost": "a round of the test, told in order",
    "bench/page_io.cc:main": "the list of what is measured",
    "cow/fs/catalog.cc": "all that the index of the catalog holds, encoded in one place",
}

FOLDERS = ["cow", "fuse", "include", "tests", "bench", "tools", "cmake", ".ci"]
CODE = {".cc", ".h", ".c"}
TEXT = CODE | {".py", ".sh", ".md", ".txt", ".cmake", ".in", ".json", ".yml"}
# Spelled in parts, so that this file passes its own test.
BANNED = re.compile(r"\b(" + "|".join(["TO" "DO", "FIX" "ME", "X" "XX", "HA" "CK"]) + r")\b")
# Paths that exist on the writer's machine only.
BUILD_PATH = re.compile(r"(?<![\w.$}])/(home/\w+|root/|work/|tmp/b-)")


def functions(lines):
    """Yields (line number, name, length) of functions in clang-formatted code.

    Formatting makes this simple: a function's body starts on a line that ends in `{`, at the
    indentation of its first line, and ends with `}` at that same indentation.
    """
    index = 0
    while index < len(lines):
        match = re.match(r"^( *)(?!namespace|class|struct|enum|union|extern|if|for|while|switch|do|"
                         r"else|return|#|//|\}|\{|public|private|protected)[\w:~<\[].*\(", lines[index])
        if not match or "=" in re.sub(r"operator\W+", "", lines[index]).split("(")[0]:
            index += 1
            continue
        indent = match.group(1)
        opening = index
        while opening < len(lines) and opening - index < 12:
            if re.search(r"[;}]\s*$", lines[opening]) or lines[opening].endswith("{"):
                break
            opening += 1
        if opening >= len(lines) or not lines[opening].endswith("{"):
            index = opening + 1
            continue
        end = opening + 1
        while end < len(lines) and not re.match(indent + r"\}", lines[end]):
            end += 1
        head = lines[index].split("(")[0].split()
        if lines[index].lstrip().startswith("TEST"):
            name = re.sub(r"^\s*TEST\w*\(|\).*", "", lines[index]).replace(", ", ".")
        else:
            name = head[-1].lstrip("*&") if head else "?"
        yield index + 1, name, end - index + 1
        index = end + 1


def check_code(name, path, lines):
    found = []
    if len(lines) > MAX_FILE_LINES and name not in LONG:
        found.append(f"{name}: {len(lines)} lines; more than {MAX_FILE_LINES} want a reason here")
    for number, function, length in functions(lines):
        if length > MAX_FUNCTION_LINES and f"{name}:{function}" not in LONG:
            found.append(f"{name}:{number}: {function} has {length} lines; "
                         f"more than {MAX_FUNCTION_LINES} want a reason here")
    if path.suffix == ".h":
        if not lines or not lines[0].startswith(("//", "/*")):
            found.append(f"{name}:1: a header opens with what it is for")
        if "#pragma once" not in lines:
            found.append(f"{name}: no #pragma once")
    return found


def check_file(root, path):
    name = str(path.relative_to(root))
    text = path.read_text(errors="replace")
    lines = text.splitlines()
    found = []
    if text and not text.endswith("\n"):
        found.append(f"{name}: no newline at the end")
    for number, line in enumerate(lines, 1):
        if "\t" in line:
            found.append(f"{name}:{number}: tab")
        if line != line.rstrip():
            found.append(f"{name}:{number}: trailing blank")
        if BANNED.search(line):
            found.append(f"{name}:{number}: a leftover ({BANNED.search(line).group()})")
        if BUILD_PATH.search(line):
            found.append(f"{name}:{number}: a path of one machine")
    if path.suffix in CODE:
        found += check_code(name, path, lines)
    return found


def files(root):
    for path in sorted(root.iterdir()):
        if path.is_file() and path.suffix in TEXT:
            yield path
    for folder in FOLDERS:
        for path in sorted((root / folder).rglob("*")):
            if path.is_file() and (path.suffix in TEXT or path.parent.name == ".ci"):
                if "__pycache__" not in path.parts:
                    yield path


def check(root):
    """All violations in the tree, as lines of text."""
    found = []
    for path in files(root):
        found += check_file(root, path)
    for entry in LONG:
        if not (root / entry.split(":")[0]).is_file():
            found.append(f"tests/style_test.py: the exception for {entry} is for nothing")
    return found


class SelfTest(unittest.TestCase):
    def violations(self, path, text):
        with tempfile.TemporaryDirectory() as name:
            root = pathlib.Path(name)
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(text)
            return check_file(root, root / path)

    HEADER = "// What it is for.\n#pragma once\n"

    def test_accepts_a_tidy_header(self):
        self.assertEqual([], self.violations("cow/base/a.h", self.HEADER + "int F(int a);\n"))

    def test_notices_bad_headers(self):
        self.assertEqual(1, len(self.violations("cow/base/a.h", "#pragma once\n")))
        self.assertEqual(1, len(self.violations("cow/base/a.h", "// What it is for.\n")))

    def test_notices_blanks(self):
        self.assertEqual(1, len(self.violations("cow/base/a.cc", "int\ta;\n")))
        self.assertEqual(1, len(self.violations("cow/base/a.cc", "int a; \n")))
        self.assertEqual(1, len(self.violations("cow/base/a.cc", "int a;")))

    def test_notices_leftovers(self):
        for word in ["TO" "DO", "FIX" "ME", "X" "XX"]:
            self.assertEqual(1, len(self.violations("README.md", f"{word}: later\n")), word)
        self.assertEqual([], self.violations("README.md", "to do is to be; cow-" + "X" * 6 + "\n"))

    def test_notices_paths_of_one_machine(self):
        for path in ["/home/" "ann/cow", "/tmp/" "b-x/cow", "cd /wor" "k/main"]:
            self.assertEqual(1, len(self.violations("README.md", f"see {path}\n")), path)
        self.assertEqual([], self.violations("README.md", "mounted on /tmp/cow, ./work/x\n"))

    def test_notices_long_files(self):
        self.assertEqual([], self.violations("cow/base/a.cc", "int a;\n" * MAX_FILE_LINES))
        self.assertEqual(1, len(self.violations("cow/base/a.cc", "int a;\n" * (MAX_FILE_LINES + 1))))

    def test_notices_long_functions(self):
        def body(lines, head, indent=""):
            return (f"{indent}{head} {{\n" + f"{indent}  if (a) {{\n{indent}    b();\n{indent}  }}\n"
                    + f"{indent}  c();\n" * (lines - 5) + f"{indent}}}\n")
        for head in ["int F(int a)", "absl::Status Store::Commit(\n    int a)", "TEST(A, B)",
                     "Volume::Volume(int a)\n    : a_(a)", "bool operator==(int a)",
                     "absl::StatusOr<std::vector<int>> List(Store& store)"]:
            with self.subTest(head=head):
                extra = head.count("\n")
                self.assertEqual([], self.violations("cow/base/a.cc", body(70 - extra, head)))
                self.assertEqual(1, len(self.violations("cow/base/a.cc", body(71 - extra, head))))
        inside = self.HEADER + "class A {\n public:\n" + body(71, "void F()", "  ") + "};\n"
        self.assertEqual(1, len(self.violations("cow/base/a.h", inside)))


def main():
    if sys.argv[1:] == ["--self"]:
        unittest.main(argv=sys.argv[:1])
    here = pathlib.Path(__file__).resolve().parent.parent
    root = pathlib.Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else here
    found = check(root)
    print("\n".join(found) or "style: nothing to mend")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
