"""docs/cli.md against the program: every key of every command's JSON is documented, and every documented one is printed.

    python docs_test.py --cli build/release/headrace

Also: the flags in the tables are those of `headrace COMMAND --help`, and the exit codes those of `headrace --help`.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import compare_test

ROOT = Path(__file__).resolve().parents[2]
MAPS = {"shapes", "provenance", "peers"}  # their keys are names of the user's things
CUDA_ONLY = {"device_us", "enqueue_us", "clock_mhz", "device_pool", "pinned_pool", "in_use", "cached", "limit",
             "system_allocations", "recorded", "made", "failed", "failed_why", "bound", "upload_us", "download_us",
             "reached", "overhead_us"}  # fmt: skip
TENSOR = {"name", "dtype", "shape", "layout", "format"}
EXAMPLES = {"input0", "x", "onnx.KEY", "onnxruntime"}  # such names in the examples


def sections(text: str) -> dict[str, str]:
    parts = re.split(r"^## (.+)\n", text, flags=re.M)
    return dict(zip(parts[1::2], parts[2::2]))


def documented(section: str) -> list[set[str]]:
    """The keys of each JSON block of a section."""
    blocks = []
    for block in re.findall(r"```jsonc\n(.*?)```", section, flags=re.S):
        keys = set(re.findall(r'"([\w.]+)":', block)) - EXAMPLES
        blocks.append(keys | (TENSOR if "TENSOR" in block else set()))
    return blocks


def printed(value: object, above: str = "") -> set[str]:
    if isinstance(value, list):
        return set().union(*(printed(item, above) for item in value)) if value else set()
    if not isinstance(value, dict):
        return set()
    names = set() if above in MAPS else set(value)
    return names.union(*(printed(item, key) for key, item in value.items())) if value else names


def flags_of(text: str) -> set[str]:
    return set(re.findall(r"--[a-z][a-z-]*", text))


class Checker:
    def __init__(self, cli: str, folder: Path) -> None:
        self.cli, self.folder, self.problems = cli, folder, []

    def call(self, *arguments: str) -> str:
        done = subprocess.run([self.cli, *arguments], capture_output=True, text=True, timeout=300, cwd=self.folder)
        if done.returncode != 0:
            sys.exit(f"FAILED: {' '.join(arguments)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        return done.stdout

    def same(self, what: str, docs: set[str], program: set[str]) -> None:
        if docs - program:
            self.problems.append(f"{what}: documented, but not there: {', '.join(sorted(docs - program))}")
        if program - docs:
            self.problems.append(f"{what}: not documented: {', '.join(sorted(program - docs))}")

    def json_keys(self, *arguments: str) -> set[str]:
        return printed(json.loads(self.call(*arguments, "--json", "-")))


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--cli", required=True)
    cli = str(Path(parser.parse_args().cli).resolve())
    text = (ROOT / "docs/cli.md").read_text(encoding="utf-8")
    parts = sections(text)
    with tempfile.TemporaryDirectory(prefix="headrace-docs-") as folder:
        check = Checker(cli, Path(folder))
        compare_test.network(Path(folder, "m.onnx"))
        build = ["build", "m.onnx", "-o", "m.plan", "--profile", "*=1:1:1", "--profile", "*=2:3:4"]
        lower = ["build", "m.onnx", "-o", "l.plan", "--device", "reference", "--precision", "fp16", "--opt-level", "0"]
        lower += ["--check-layers", "--accuracy-budget", "1e-5", "--input-format", "*=u8,scale=1/255"]
        blocks = {name: documented(part) for name, part in parts.items()}
        check.same("build", blocks["build"][0], check.json_keys(*build) | check.json_keys(*lower))
        check.same("run", blocks["run"][0], check.json_keys("run", "m.plan", "--seed", "1", "--output", "o", "--trace", "t"))
        bench = ["bench", "m.plan", "--iterations", "2", "--rounds", "2", "--profile", "--trace", "t"]
        bench += ["--compare", "onnxruntime", "--onnx", "m.onnx"]
        check.same("bench", blocks["bench"][0] - CUDA_ONLY, check.json_keys(*bench))
        copy = ["bench", "copy", "--device", "cpu", "--size", "64K", "--repeats", "1"]
        check.same("bench copy", blocks["bench copy"][0], check.json_keys(*copy))
        ladder = ["bench", "ladder", "--batch", "4", "--repeat", "1", "--steady", "0"]
        check.same("bench ladder", blocks["bench ladder"][0], check.json_keys(*ladder))
        sim = ["--device", "sim"]
        timing = check.json_keys("bench", "timing", *sim) | check.json_keys("bench", "timing", "m.plan", "--repeats", "3")
        check.same("bench timing", blocks["bench timing"][0], timing)
        camera = ["bench", "camera", *sim, "--frames", "3", "--compare", "arena"]
        check.same("bench camera", blocks["bench camera"][0], check.json_keys(*camera))
        serve = ["bench", "serve", *sim, "--requests", "9"]
        check.same("bench serve", blocks["bench serve"][0], check.json_keys(*serve))
        # At opt level 1 something was tried, and cpu.resize_linear refused the nearest Resize.
        plan, onnx = blocks["inspect"]
        shown = check.json_keys("inspect", "m.plan") | check.json_keys("inspect", "l.plan")
        check.same("inspect PLAN", plan | TENSOR, shown)
        check.same("inspect ONNX", onnx, check.json_keys("inspect", "m.onnx"))
        check.same("verify", blocks["verify"][0], check.json_keys("verify", "m.onnx"))
        check.same("env", blocks["env"][0], check.json_keys("env"))
        check.same("demo", blocks["demo"][0], check.json_keys("demo", "--repeat", "2"))
        pictures = [str(ROOT / "examples/ocr/data" / name) for name in ("banner.jpg", "labels.jpg")]
        check.same("demo, several", blocks["demo"][1], check.json_keys("demo", *pictures))
        for command in ("build", "run", "bench", "bench copy", "bench ladder", "bench timing", "bench camera", "bench serve",
                        "verify", "demo"):
            table = flags_of(" ".join(re.findall(r"^\| `(-.*?) \|", parts[command], flags=re.M)))
            check.same(f"flags of {command}", table, flags_of(check.call(*command.split(), "--help").split("Options:")[1].split(
                "Exit codes:")[0]) - {"--help", "--json"})
        codes = set(re.findall(r"^\| (\d+) \|", text, flags=re.M))
        help_codes = set(re.findall(r"\b(\d+) [a-z]", check.call("--help").split("Exit codes:")[1]))
        check.same("exit codes", codes, help_codes)
    for problem in check.problems:
        print(f"  {problem}")
    print(f"{'FAILED' if check.problems else 'passed'}: {len(check.problems)} differences from docs/cli.md")
    return 1 if check.problems else 0


if __name__ == "__main__":
    sys.exit(main())
