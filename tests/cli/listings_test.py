"""T-DOCS-RUN: every listing of README.md and docs/*.md does what it says.

    python listings_test.py --cli build/release/headrace

A listing is a fenced block marked sh, python, cpp or cmake. Those of one document run in a folder of their own, in order,
after what the HTML comment just before a listing asks for:

    <!-- with: CODE -->         lines before it that the listing takes for granted: variables (cpp), commands, targets (cmake)
    <!-- not run: REASON -->    it is left out, and the reason is printed

The folder is as a reader has it: `build/release` and `.deps`, `examples`, `tools`, and the generated networks (`resnet18.onnx`
...). The shell listings of a document share one shell, as its reader does. C++ listings are bodies of functions: those of all
documents are compiled together, in one project that uses the package which README.md installs, with README.md's cmake lines.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RUN = ("sh", "python", "cpp", "cmake")
OTHERS = ("", "jsonc")  # pictures and synopses; what a command prints (docs_test.py compares that)


@dataclass
class Listing:
    document: str
    line: int
    language: str
    code: str
    given: str = ""
    why_not: str = ""

    @property
    def place(self) -> str:
        return f"{self.document}:{self.line}"


def listings_of(document: str, text: str) -> list[Listing]:
    """Raises ValueError for what is neither a listing nor known to be none."""
    found = []
    for block in re.finditer(r"(?:^<!-- ((?:(?!-->).)*?) *-->\n+)?^```([^\n]*)\n(.*?)^```$", text, flags=re.M | re.S):
        comment, language, code = block[1] or "", block[2].strip(), block[3]
        listing = Listing(document, text.count("\n", 0, block.start(3)), language, code)
        if language not in RUN + OTHERS:
            raise ValueError(f"{listing.place}: a block marked '{language}', known are {', '.join(filter(None, RUN + OTHERS))}")
        if comment.startswith("with:"):
            listing.given = comment.removeprefix("with:").strip()
        elif comment.startswith("not run:"):
            listing.why_not = comment.removeprefix("not run:").strip()
            if not listing.why_not:
                raise ValueError(f"{listing.place}: 'not run' without a reason")
        elif comment:
            raise ValueError(f"{listing.place}: the comment before it begins with neither 'with:' nor 'not run:'")
        if language in RUN:
            found.append(listing)
    return found


def cpp_source(listings: list[Listing]) -> str:
    """One file with a function for each listing; `main` runs those of the document that it is given."""
    includes, functions, calls = {"#include <cstdio>", "#include <exception>", "#include <string_view>"}, [], []
    for i, listing in enumerate(listings):
        body = []
        for first, text in ((0, listing.given), (listing.line + 1, listing.code)):
            if first:
                body.append(f'#line {first} "{ROOT / listing.document}"')
            for line in text.splitlines():
                if line.startswith("#include"):
                    includes.add(line)
                body.append("" if line.startswith("#include") else line)
        functions.append(f"static void listing_{i}() {{\n" + "\n".join(body) + "\n}\n")
        calls.append(f'if (document == "{listing.document}") {{ std::printf("@@ {listing.place}\\n"); std::fflush(stdout); '
                     f"listing_{i}(); }}")  # fmt: skip
    return "\n".join([*sorted(includes), *functions, "int main(int, char** argv) try {",
                      "const std::string_view document = argv[1];", *calls, "return 0;",
                      '} catch (const std::exception& e) { std::printf("%s\\n", e.what()); return 1; }', ""])  # fmt: skip


def shell_script(listings: list[Listing]) -> str:
    parts = ["set -euo pipefail\n"]
    for listing in listings:
        parts.append(f'echo "@@ {listing.place}"\n{listing.given}\n')
        if listing.language == "python":
            parts.append(f"python3 - <<'END_OF_LISTING'\n{listing.code}END_OF_LISTING\n")
        else:
            parts.append(listing.code)
    return "".join(parts)


class Runner:
    def __init__(self, cli: Path, home: Path) -> None:
        self.build, self.home, self.problems = cli.parent, home, []
        venv = ROOT / ".deps/venv/bin"
        self.environment = os.environ | {"HOME": str(home), "XDG_CACHE_HOME": str(home / ".cache"),
                                         "PATH": f"{venv}:{os.environ['PATH']}"}  # fmt: skip

    def folder(self, document: str) -> Path:
        folder = self.home / document.replace("/", "_")
        if not folder.exists():
            (folder / "build").mkdir(parents=True)
            (folder / "build/release").symlink_to(self.build)
            for name in (".deps", "examples", "tools"):
                (folder / name).symlink_to(ROOT / name)
            for model in (ROOT / ".deps/models").glob("*.onnx"):
                (folder / model.name).symlink_to(model)
        return folder

    def run(self, what: str, command: list[str], folder: Path) -> bool:
        """False and a problem, with the listing that ran last, when the command fails."""
        done = subprocess.run(command, cwd=folder, env=self.environment, text=True, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=600)  # fmt: skip
        if done.returncode != 0:
            place = (re.findall(r"^@@ (.*)$", done.stdout, flags=re.M) or [what])[-1]
            last = "\n    ".join(done.stdout.splitlines()[-25:])
            self.problems.append(f"{place}: ended with {done.returncode}:\n    {last}")
        return done.returncode == 0

    def shell(self, listings: list[Listing]) -> None:
        if listings:
            script = shell_script(listings)
            self.run(listings[0].document, ["bash", "-c", script], self.folder(listings[0].document))

    def project(self, cpp: list[Listing], cmake: list[Listing]) -> Path | None:
        """Builds the C++ listings against the installed package; the program that runs them."""
        source, build = self.home / "project", self.home / "project/build"
        source.mkdir()
        (source / "listings.cc").write_text(cpp_source(cpp))
        lines = ["cmake_minimum_required(VERSION 3.25)", "project(listings CXX)", "find_package(headrace REQUIRED)",
                 "add_executable(listings listings.cc)", "target_link_libraries(listings PRIVATE headrace::build)",
                 "target_compile_options(listings PRIVATE -O1 -Wall -Wextra -Werror -Wno-missing-field-initializers",
                 "  -Wno-unused-variable -Wno-unused-but-set-variable)"]  # fmt: skip
        for listing in cmake:
            lines += [listing.given, listing.code]
        (source / "CMakeLists.txt").write_text("\n".join(lines) + "\n")
        (source / "examples").symlink_to(ROOT / "examples")
        cache = (self.build / "CMakeCache.txt").read_text()
        compiler = re.search(r"^CMAKE_CXX_COMPILER:\w+=(.*)$", cache, flags=re.M)
        configure = ["cmake", "-S", str(source), "-B", str(build), "-G", "Ninja", f"-DCMAKE_PREFIX_PATH={self.home}/headrace",
                     f"-DCMAKE_CXX_COMPILER={compiler[1]}"]  # fmt: skip
        made = self.run("cmake listings", configure, source) and self.run("C++ listings", ["cmake", "--build", str(build)], source)
        return build / "listings" if made else None


def self_test(home: Path, cli: Path) -> None:
    """A listing that breaks is a problem, named by its place."""
    broken = "text\n```sh\ntrue\n```\n<!-- with: X=1 -->\n```sh\necho $X\ntest $X = 2\n```\n<!-- not run: why -->\n```sh\nfalse\n```\n"
    listings = listings_of("broken.md", broken)
    assert [(l.line, l.given, l.why_not) for l in listings] == [(2, "", ""), (6, "X=1", ""), (11, "", "why")], listings
    runner = Runner(cli, home)
    runner.shell([l for l in listings if not l.why_not])
    assert len(runner.problems) == 1 and runner.problems[0].startswith("broken.md:6: ended with 1"), runner.problems
    for bad in ("```perl\n1\n```\n", "<!-- not run: -->\n```sh\nfalse\n```\n", "<!-- other -->\n```sh\nfalse\n```\n"):
        try:
            listings_of("bad.md", bad)
        except ValueError:
            continue
        raise AssertionError(f"accepted: {bad}")


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--cli", required=True)
    cli = Path(parser.parse_args().cli).resolve()
    documents = ["README.md", *sorted(str(p.relative_to(ROOT)) for p in (ROOT / "docs").glob("*.md"))]
    listings = [l for d in documents for l in listings_of(d, (ROOT / d).read_text(encoding="utf-8"))]
    left_out = [l for l in listings if l.why_not]
    for listing in left_out:
        print(f"  {listing.place}: not run: {listing.why_not}")
    to_run = [l for l in listings if not l.why_not]
    cpp = [l for l in to_run if l.language == "cpp"]
    with tempfile.TemporaryDirectory(prefix="headrace-listings-") as folder:
        home = Path(folder).resolve()
        self_test(home, cli)
        runner, program = Runner(cli, home), None
        for document in documents:
            runner.shell([l for l in to_run if l.document == document and l.language in ("sh", "python")])
            if document == "README.md":  # it has installed the package
                program = runner.project(cpp, [l for l in to_run if l.language == "cmake"])
            if program and any(l.document == document for l in cpp):
                runner.run(document, [str(program), document], runner.folder(document))
    for problem in runner.problems:
        print(f"  {problem}")
    print(f"{'FAILED' if runner.problems else 'passed'}: {len(to_run)} listings run ({len(cpp)} in C++), {len(left_out)} left out")
    return 1 if runner.problems else 0


if __name__ == "__main__":
    sys.exit(main())
