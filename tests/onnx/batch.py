"""Runs many test folders through `headrace node-test` in few processes, and survives their crashes.

`headrace node-test --list FILE --json OUT` appends one JSON object a line to OUT as each test ends:
{"dir": ..., "status": "pass" | "fail" | "error", "message": ...}. When the process dies or hangs, the
first folder without a line is the culprit; the folders after it go to a new process.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Result:
    status: str  # pass, fail, error, crash
    message: str


def _read_lines(path: Path) -> dict[str, Result]:
    """Results written so far; the last line may be torn."""
    results = {}
    for line in path.read_text(errors="replace").splitlines() if path.exists() else []:
        try:
            entry = json.loads(line)
        except json.JSONDecodeError:
            continue
        results[Path(entry["dir"]).name] = Result(entry["status"], entry.get("message", ""))
    return results


def _death(code: int | None, stderr: str) -> str:
    last = next((line for line in reversed(stderr.splitlines()) if line.strip()), "no message")
    how = "timed out" if code is None else f"killed by signal {-code}" if code < 0 else f"exit code {code}"
    return f"process {how}: {last.strip()}"


def _run_once(cli: Path, folders: list[Path], timeout_s: float) -> tuple[dict[str, Result], str]:
    with tempfile.TemporaryDirectory(prefix="headrace-node-") as scratch:
        listing, out, log = Path(scratch, "list.txt"), Path(scratch, "out.jsonl"), Path(scratch, "stderr.txt")
        listing.write_text("".join(f"{folder}\n" for folder in folders))
        command = [str(cli), "node-test", "--list", str(listing), "--json", str(out)]
        code: int | None
        with log.open("w") as stderr:
            try:
                code = subprocess.run(
                    command, stdout=subprocess.DEVNULL, stderr=stderr, timeout=timeout_s
                ).returncode
            except subprocess.TimeoutExpired:
                code = None
        return _read_lines(out), _death(code, log.read_text(errors="replace"))


def _run_chunk(cli: Path, folders: list[Path], timeout_s: float) -> dict[str, Result]:
    results: dict[str, Result] = {}
    rest = folders
    while rest:
        found, death = _run_once(cli, rest, timeout_s)
        results.update(found)
        missing = [folder for folder in rest if folder.name not in found]
        if missing:
            results[missing[0].name] = Result("crash", death)
        rest = missing[1:]
    return results


def run(
    cli: Path,
    folders: list[Path],
    jobs: int,
    chunk: int,
    timeout_s: float,
    progress: Callable[[int, int], None],
) -> dict[str, Result]:
    # Interleaved, so that neighbours of one slow operator spread over the chunks.
    count = max(1, -(-len(folders) // chunk))
    chunks = [folders[i::count] for i in range(count)]
    results: dict[str, Result] = {}
    with ThreadPoolExecutor(jobs) as pool:
        for part in pool.map(lambda c: _run_chunk(cli, c, timeout_s), chunks):
            results.update(part)
            progress(len(results), len(folders))
    return results
