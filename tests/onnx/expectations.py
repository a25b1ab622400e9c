"""The list of node tests that are known not to pass: one `pattern: reason` a line, `*` as in shell globs.

A pattern that matches a passing test, or no test at all, is out of date and makes the run fail.
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

HEADER = """\
# Node tests of ONNX that do not pass yet, with the reason: `name-or-glob: reason`. An element type or a
# kind of value that a model has and headrace lacks comes first.
# A test listed here that passes fails the run. Rewrite with: tests/onnx/node_tests.py --update
"""


@dataclass(frozen=True)
class Expectation:
    pattern: str
    reason: str

    def matches(self, name: str) -> bool:
        return fnmatchcase(name, self.pattern)


class Expectations:
    def __init__(self, entries: list[Expectation]) -> None:
        self._entries = entries
        self._exact = {e.pattern: e for e in entries if "*" not in e.pattern}
        self._globs = [e for e in entries if "*" in e.pattern]

    @staticmethod
    def load(path: Path) -> Expectations:
        entries = []
        for number, line in enumerate(path.read_text().splitlines() if path.exists() else [], start=1):
            if not line.strip() or line.startswith("#"):
                continue
            pattern, colon, reason = line.partition(":")
            if not colon or not reason.strip():
                raise SystemExit(f"{path}:{number}: expected `name-or-glob: reason`, found `{line}`")
            entries.append(Expectation(pattern.strip(), reason.strip()))
        return Expectations(entries)

    def find(self, name: str) -> Expectation | None:
        return self._exact.get(name) or next((e for e in self._globs if e.matches(name)), None)

    def unused(self, names: list[str]) -> list[str]:
        """Patterns that match none of `names`."""
        known = set(names)
        stale = [p for p in self._exact if p not in known]
        return stale + [e.pattern for e in self._globs if not any(e.matches(n) for n in names)]

    def updated(self, failures: dict[str, str], passed: list[str]) -> Expectations:
        """Keeps globs that still hold; all other failures get a line of their own."""
        kept = [
            e
            for e in self._globs
            if any(e.matches(n) for n in failures) and not any(e.matches(n) for n in passed)
        ]
        single = [
            Expectation(n, r) for n, r in sorted(failures.items()) if not any(e.matches(n) for e in kept)
        ]
        return Expectations(kept + single)

    def save(self, path: Path) -> None:
        path.write_text(HEADER + "".join(f"{e.pattern}: {e.reason}\n" for e in self._entries))
