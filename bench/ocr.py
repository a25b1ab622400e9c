"""The demo against the PyPI package rapidocr-onnxruntime, picture by picture, interleaved.

    python bench/ocr.py --cli build/release/headrace [--models .deps/ocr] [--rounds 7]

Needs `pip install rapidocr-onnxruntime==1.4.4`. Both read the project's own pictures with the same networks on the same
cores, warm; each round measures one after the other, medians of 5. Prints the ratio of the times (below 1: headrace is
faster) and the share of characters that each reads right, spaces ignored.
"""

from __future__ import annotations

import argparse
import difflib
import json
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

from rapidocr_onnxruntime import RapidOCR

DATA = Path(__file__).resolve().parents[1] / "examples/ocr/data"


def right(expected: list[str], read: list[str]) -> int:
    """Characters of the expected lines that stand in the line read that fits each best."""
    def common(a: str, b: str) -> int:
        return sum(block.size for block in difflib.SequenceMatcher(None, a, b, autojunk=False).get_matching_blocks())

    return sum(max((common(line, other) for other in read), default=0) for line in expected)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cli", required=True)
    parser.add_argument("--models", default=".deps/ocr")
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args()
    peer = RapidOCR()
    ratios, total, mine, theirs = [], 0, 0, 0
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "result.json"
        command = [args.cli, "demo", "--models", args.models, "--output", f"{folder}/x.png", "--repeat", "6", "--json", str(result)]
        for picture in sorted(DATA.glob("*.jpg")):
            peer(str(picture))
            a, b = [], []
            for _ in range(args.rounds):
                subprocess.run([*command, str(picture)], check=True, capture_output=True)
                ours = json.loads(result.read_text())
                a.append(ours["warm_ms"]["total"])
                times = []
                for _ in range(5):
                    start = time.perf_counter()
                    lines, _ = peer(str(picture))
                    times.append((time.perf_counter() - start) * 1000)
                b.append(statistics.median(times))
            ratio = statistics.median(x / y for x, y in zip(a, b))
            ratios.append(ratio)
            print(f"{picture.name:<14} headrace {statistics.median(a):7.1f} ms  rapidocr {statistics.median(b):7.1f} ms  ratio {ratio:.2f}", flush=True)
            expected = ["".join(line.split("\t")[1].split()) for line in picture.with_suffix(".txt").read_text().splitlines()]
            total += sum(map(len, expected))
            mine += right(expected, ["".join(line["text"].split()) for line in ours["lines"]])
            theirs += right(expected, ["".join(line[1].split()) for line in lines or []])
    print(f"median ratio {statistics.median(ratios):.2f}, worst {max(ratios):.2f}; of {total} characters right: headrace {mine}, rapidocr {theirs}")


if __name__ == "__main__":
    main()
