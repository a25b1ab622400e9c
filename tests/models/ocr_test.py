"""The demo on headrace's own pictures: what it reads and where, against the known text.

    python ocr_test.py --cli build/release/headrace [--data examples/ocr/data] [--models DIR]

Fails when fewer than 98 % of the characters are read over all pictures (spaces do not count, case does), when a line has
no box near its place, when there are boxes without text, or when all pictures in one call, which overlap, do not give the same.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]


def edit_distance(a: str, b: str) -> int:
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        next_row = [i]
        for j, y in enumerate(b, 1):
            next_row.append(min(row[j] + 1, next_row[-1] + 1, row[j - 1] + (x != y)))
        row = next_row
    return row[-1]


def centre(box: list) -> tuple[float, float]:
    return sum(p[0] for p in box) / 4, sum(p[1] for p in box) / 4


def read_truth(path: pathlib.Path) -> list[tuple[list, str]]:
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines():
        corners, text = line.split("\t")
        numbers = [float(v) for v in corners.split(",")]
        lines.append((list(zip(numbers[::2], numbers[1::2])), text))
    return lines


def near(box: list, truth: list) -> bool:
    """Every corner within the line's height (at least 12 pixels) of the corner it belongs to."""
    height = max(12.0, max(abs(truth[3][0] - truth[0][0]), abs(truth[3][1] - truth[0][1])))
    return all(max(abs(p[0] - q[0]), abs(p[1] - q[1])) <= height for p, q in zip(box, truth))


def demo(cli: str, pictures: list[pathlib.Path], models: str | None, folder: str) -> dict:
    out = pathlib.Path(folder) / "result.json"
    drawn = pathlib.Path(folder) / "drawn.png"
    command = [cli, "demo", *map(str, pictures), "--json", str(out), "--output", str(drawn)]
    if models:
        command += ["--models", models]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    if done.returncode != 0:
        sys.exit(f"FAILED: {' '.join(command)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    for i in range(len(pictures)):
        png = drawn if len(pictures) == 1 else drawn.with_name(f"drawn-{i + 1}.png")
        if png.read_bytes()[:8] != b"\x89PNG\r\n\x1a\n":
            sys.exit(f"FAILED: {png} is no PNG file")
    return json.loads(out.read_text(encoding="utf-8"))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--cli", required=True)
    parser.add_argument("--data", default=str(ROOT / "examples/ocr/data"))
    parser.add_argument("--models", default=str(ROOT / ".deps/ocr"))
    arguments = parser.parse_args()
    pictures = sorted(p for p in pathlib.Path(arguments.data).iterdir() if p.suffix in (".jpg", ".png"))
    if not pictures:
        sys.exit(f"FAILED: no pictures in {arguments.data}")
    if not list(pathlib.Path(arguments.models).glob("*.onnx")):
        sys.exit(f"FAILED: no networks in {arguments.models}; `./dev test` fetches them")
    wrong = total = 0
    problems = []
    with tempfile.TemporaryDirectory() as folder:
        together = demo(arguments.cli, pictures * 2, arguments.models, folder)["pictures"]
        if [p["image"] for p in together] != [str(p) for p in pictures * 2]:
            problems.append("all pictures together do not come in their order")
        for i, picture in enumerate(pictures):
            lines = list(demo(arguments.cli, [picture], arguments.models, folder)["lines"])
            for again in (together[i]["lines"], together[i + len(pictures)]["lines"]):
                if [(l["text"], l["box"]) for l in again] != [(l["text"], l["box"]) for l in lines]:
                    problems.append(f"{picture.name}: other lines when other pictures are read at the same time")
            for truth, text in read_truth(picture.with_suffix(".txt")):
                expected = text.replace(" ", "")
                total += len(expected)
                at = centre(truth)
                nearest = min(lines, default=None,
                              key=lambda l: abs(centre(l["box"])[0] - at[0]) + abs(centre(l["box"])[1] - at[1]))
                if nearest is None or not near(nearest["box"], truth):
                    wrong += len(expected)
                    problems.append(f"{picture.name}: no box near {truth} ({text!r}), nearest {nearest}")
                    continue
                lines.remove(nearest)
                errors = edit_distance(nearest["text"].replace(" ", ""), expected)
                wrong += errors
                if errors:
                    print(f"  {picture.name}: {text!r} read as {nearest['text']!r}")
                if not 0.5 <= nearest["confidence"] <= 1.001:
                    problems.append(f"{picture.name}: confidence {nearest['confidence']}")
            for line in lines:
                problems.append(f"{picture.name}: nothing stands at {line['box']}, read as {line['text']!r}")
    accuracy = 1 - wrong / total
    for problem in problems:
        print(f"  {problem}")
    good = accuracy >= 0.98 and not problems
    print(f"{'passed' if good else 'FAILED'}: {100 * accuracy:.2f} % of {total} characters in {len(pictures)} pictures "
          f"(98 % wanted), {len(problems)} other problems")
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
