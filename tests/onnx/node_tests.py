"""Runs all node tests of the pip package onnx through build, save, load and run of the headrace program.

    python tests/onnx/node_tests.py --cli build/headrace               all, against expected_failures.txt
    python tests/onnx/node_tests.py --cli build/headrace 'test_conv*'  only these
    python tests/onnx/node_tests.py --cli build/headrace --update      rewrite expected_failures.txt

Exit code: 0 as expected; 1 a failure or a pass that the list does not expect, or a stale line in it.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections import Counter
from fnmatch import fnmatchcase
from pathlib import Path

import batch
import cases
from expectations import Expectations

HERE = Path(__file__).resolve().parent
SHOWN = 60

# Of messages: what a reason leaves out (the folder is the test's name), and how it names a node.
UNSUPPORTED = re.compile(r"\d+ unsupported operators?:")
CONTEXT = re.compile(r" while importing \S+")
NODE = re.compile(r"node (?:making )?'[^']*' \((\w+)(?:, opset \d+)?\)")


def _reason(folder: Path, result: batch.Result) -> str:
    scope = cases.out_of_scope(folder)
    if scope:
        return scope
    lines = result.message.strip().splitlines() or ["no message"]
    operators = re.findall(r"([\w.]+) \(\d+ nodes?, first ", lines[0]) if UNSUPPORTED.match(lines[0]) else []
    if operators:
        return f"unsupported operator{'s' if len(operators) > 1 else ''} {', '.join(operators)}"
    text = CONTEXT.sub("", lines[0])
    text = NODE.sub(r"\1", text)
    return ("crash, " if result.status == "crash" else "") + " ".join(text.split())


def _show(title: str, lines: list[str]) -> None:
    if not lines:
        return
    print(f"\n{title} ({len(lines)}):")
    for line in lines[:SHOWN]:
        print(f"  {line}")
    if len(lines) > SHOWN:
        print(f"  ... and {len(lines) - SHOWN} more")


def _judge(results: dict[str, batch.Result], listed: Expectations, complete: bool) -> int:
    unexpected = {n: r for n, r in results.items() if r.status != "pass" and not listed.find(n)}
    surprises = [n for n, r in results.items() if r.status == "pass" and listed.find(n)]
    stale = listed.unused(list(results)) if complete else []
    _show(
        "unexpected failures",
        [f"{n}: {r.status}: {' '.join(r.message.split())[:200]}" for n, r in sorted(unexpected.items())],
    )
    _show("unexpected passes, take them off the list", sorted(surprises))
    _show("lines of the list that match no test", stale)
    passed = sum(r.status == "pass" for r in results.values())
    expected = len(results) - passed - len(unexpected)
    print(
        f"\nnode tests: {len(results)} run, {passed} passed, {len(unexpected)} failed, "
        f"{expected} expected failures, {len(surprises)} unexpected passes, {len(stale)} stale lines"
    )
    return 1 if unexpected or surprises or stale else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Runs ONNX's node tests through the headrace program.")
    parser.add_argument("--cli", type=Path, required=True, help="the headrace program")
    parser.add_argument(
        "--data",
        type=Path,
        default=HERE.parents[1] / ".deps" / "onnx_tests",
        help="where the test folders are written (default: .deps/onnx_tests)",
    )
    parser.add_argument("--expected", type=Path, default=HERE / "expected_failures.txt")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--chunk", type=int, default=250, help="tests per process")
    parser.add_argument("--timeout", type=float, default=600.0, help="seconds per process")
    parser.add_argument("--update", action="store_true", help="rewrite the list of expected failures")
    parser.add_argument("--export-only", action="store_true", help="write the test folders and stop")
    parser.add_argument("patterns", nargs="*", help="names or globs (default: all)")
    return parser.parse_args()


def main() -> int:
    args = _arguments()
    folders = cases.export(args.data.resolve())
    if args.export_only:
        print(f"{len(folders)} test folders in {args.data}")
        return 0
    if not os.access(args.cli, os.X_OK):
        print(f"{args.cli} is not a program; build headrace first", file=sys.stderr)
        return 1
    if args.patterns:
        folders = [f for f in folders if any(fnmatchcase(f.name, p) for p in args.patterns)]
        if not folders or args.update:
            print("no test matches" if not folders else "--update needs all tests", file=sys.stderr)
            return 1
    results = batch.run(
        args.cli.resolve(),
        folders,
        args.jobs,
        args.chunk,
        args.timeout,
        lambda done, of: print(f"{done}/{of}", file=sys.stderr, flush=True),
    )
    listed = Expectations.load(args.expected)
    if args.update:
        failures = {f.name: _reason(f, results[f.name]) for f in folders if results[f.name].status != "pass"}
        passed = [n for n, r in results.items() if r.status == "pass"]
        listed.updated(failures, passed).save(args.expected)
        print(f"{args.expected}: {len(failures)} expected failures, {len(passed)} pass; by reason:")
        for reason, count in Counter(failures.values()).most_common(40):
            print(f"  {count:5d}  {reason}")
        return 0
    return _judge(results, listed, complete=not args.patterns)


if __name__ == "__main__":
    sys.exit(main())
