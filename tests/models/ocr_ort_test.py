"""The demo's three networks against ONNX Runtime, on the inputs that the demo itself gives them.

    python ocr_ort_test.py --cli build/release/headrace [--data examples/ocr/data] [--models DIR]

For every picture of the project, and for a strip, a small and an odd-sized cut of them, `headrace demo --dump` writes
what each network was given (padded as it was) and what it answered. Then, for each picture:
- ONNX Runtime's answers to the same bytes are within 1e-4 of their scale: the detector's map, and the logits (up to a
  constant) of classification and recognition, which end in a softmax. Where a probability
  hangs on the rounding of many layers, ONNX Runtime is farther from itself when its optimiser is off (up to 2.3e-4 on
  a large picture); twice that distance, measured on the same bytes, is then the limit, and never more than 1e-3;
- the boxes of ONNX Runtime's map, found by ocr_boxes.py, are the demo's boxes, to 2 pixels of the detector's map;
- the texts of ONNX Runtime's recognition, decoded here, are the demo's lines, word for word.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnxruntime as ort
from PIL import Image

import ocr_boxes

ROOT = Path(__file__).resolve().parents[2]
TOLERANCE, MOST = 1e-4, 1e-3
BOX_PIXELS = 2.0


class Network:
    """A network in ONNX Runtime, with its optimiser and without."""

    def __init__(self, folder: Path, part: str) -> None:
        (model,) = folder.glob(f"*{part}*.onnx")
        self.sessions = []
        for level in (ort.GraphOptimizationLevel.ORT_ENABLE_ALL, ort.GraphOptimizationLevel.ORT_DISABLE_ALL):
            options = ort.SessionOptions()
            options.log_severity_level = 3
            options.intra_op_num_threads = 2
            options.graph_optimization_level = level
            self.sessions.append(ort.InferenceSession(str(model), options, providers=["CPUExecutionProvider"]))

    def answer(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The answers of the optimised one and of the other."""
        first, second = (s.run(None, {s.get_inputs()[0].name: values})[0] for s in self.sessions)
        return first, second

    def characters(self) -> list[str]:
        listed = self.sessions[0].get_modelmeta().custom_metadata_map["character"].splitlines()
        return ["", *listed, " "]  # the first is CTC's blank


def logits(probabilities: np.ndarray) -> np.ndarray:
    """What the softmax was given, but for a constant. Below 1e-20 f32 loses digits: cut there."""
    return np.log(np.maximum(probabilities.astype(np.float64), 1e-20))


def pictures(data: Path, scratch: Path) -> list[Path]:
    """The project's own ones and cuts of them that take other ways through the demo."""
    whole = sorted(data.glob("*.jpg"))
    if len(whole) < 4:
        sys.exit(f"FAILED: only {len(whole)} pictures in {data}")
    street = data / "street.jpg"
    corners = [float(v) for v in street.with_suffix(".txt").read_text().split("\t")[0].split(",")]
    first = Image.open(street).convert("RGB")
    width, height = first.size
    top = int(min(corners[1::2])) - 20
    cuts = {
        "strip.png": first.crop((0, top, width, top + width // 9)),  # gets black borders
        "small.png": first.resize((width // 5, height // 5), Image.Resampling.LANCZOS),  # is enlarged
        "odd.png": first.crop((3, 5, width - 8, height - 14)).convert("L"),
        "large.png": first.resize((2600, round(2600 * height / width)), Image.Resampling.BICUBIC),  # shrinks
    }
    for name, picture in cuts.items():
        picture.save(scratch / name)
    return whole + [scratch / name for name in cuts]


class Check:
    def __init__(self, picture: str) -> None:
        self.picture = picture
        self.problems: list[str] = []
        self.worst = {"det": 0.0, "cls": 0.0, "rec": 0.0}

    def that(self, good: bool, message: str) -> None:
        if not good:
            self.problems.append(f"{self.picture}: {message}")

    def near(self, name: str, got: np.ndarray, want: np.ndarray, other: np.ndarray) -> None:
        if got.shape != want.shape or got.dtype != want.dtype:
            self.that(False, f"{name} is {got.dtype}{list(got.shape)}, expected {want.dtype}{list(want.shape)}")
            return
        if not name.startswith("det"):
            got, want, other = (logits(values) for values in (got, want, other))
        scale = float(np.abs(want).max())
        error = float(np.abs(got.astype(np.float64) - want).max()) / scale
        own = float(np.abs(other.astype(np.float64) - want).max())
        self.worst[name[:3]] = max(self.worst[name[:3]], error)
        limit = max(TOLERANCE, min(2 * own / scale, MOST))
        self.that(error <= limit, f"{name} {list(got.shape)}: {error:.2e} of its scale {scale:.3g}, limit {limit:.1e}")


def check_boxes(check: Check, got: np.ndarray, values: np.ndarray, picture: np.ndarray) -> None:
    height, width = picture.shape[:2]
    want = ocr_boxes.boxes_of_map(values[0, 0], width, height)
    check.that(len(got) == len(want), f"{len(got)} boxes, {len(want)} in ONNX Runtime's map")
    limit = BOX_PIXELS * max(1.0, width / values.shape[3], height / values.shape[2])
    left = list(got)
    for box in want:
        if not left:
            break
        distances = [ocr_boxes.corner_distance(box, other) for other in left]
        nearest = int(np.argmin(distances))
        check.that(distances[nearest] <= limit, f"no box at {box.tolist()}: {distances[nearest]:.1f} pixels away")
        left.pop(nearest)


def check_lines(check: Check, lines: list, readings: list[tuple[str, float]]) -> None:
    want = [(text, confidence) for text, confidence in readings if text and confidence >= 0.5]
    got = [(line["text"], line["confidence"]) for line in lines]
    check.that([t for t, _ in got] == [t for t, _ in want], f"read {got}, ONNX Runtime {want}")
    for (text, a), (_, b) in zip(got, want):
        check.that(abs(a - b) <= 1e-3, f"{text!r}: confidence {a}, ONNX Runtime {b}")


def check_picture(cli: str, path: Path, models: Path, networks: dict, characters: list[str], scratch: Path) -> Check:
    check = Check(path.name)
    dump, out = scratch / f"dump-{path.stem}", scratch / "result.json"
    command = [cli, "demo", str(path), "--models", str(models), "--dump", str(dump), "--json", str(out)]
    done = subprocess.run(command + ["--output", str(scratch / "drawn.png")], capture_output=True, text=True,
                          timeout=600)
    if done.returncode != 0:
        sys.exit(f"FAILED: {' '.join(command)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    inputs = sorted(dump.glob("*.input.npy"))
    answers = {}
    for file in inputs:
        name = file.name.removesuffix(".input.npy")
        answers[name], other = networks[name[:3]].answer(np.load(file))
        check.near(name, np.load(dump / f"{name}.output.npy"), answers[name], other)
    boxes = np.load(dump / "det.boxes.npy")
    check_boxes(check, boxes, answers["det"], np.load(dump / "det.picture.npy"))
    # Every box went through both networks, in batches here and one by one there.
    recognised = sorted(int(n.split(".")[1]) for n in answers if n.startswith("rec."))
    classified = sum(len(a) for n, a in answers.items() if n.startswith("cls."))
    check.that(recognised == list(range(len(boxes))), f"{len(boxes)} boxes, recognised {recognised}")
    check.that(classified == len(boxes), f"{len(boxes)} boxes, {classified} classified")
    for name, values in answers.items():
        check.that(bool(re.fullmatch(r"det|(cls|rec)\.\d+", name)), f"a network named {name}")
        if name.startswith("rec."):
            sums = values[0].sum(axis=1)
            check.that(bool(np.allclose(sums, 1, atol=1e-3)), f"{name} are no probabilities")
    lines = json.loads(out.read_text(encoding="utf-8"))["lines"]
    check_lines(check, lines, [ocr_boxes.decode(answers[f"rec.{i}"][0], characters) for i in recognised])
    print(f"{path.name}: {len(boxes)} boxes, {len(lines)} lines; worst error of the scale: "
          + ", ".join(f"{k} {v:.1e}" for k, v in check.worst.items()), flush=True)
    check.that(len(boxes) > 0 and len(lines) > 0, "nothing read at all")
    return check


def main() -> int:
    parser = argparse.ArgumentParser(description="The demo's networks against ONNX Runtime.")
    parser.add_argument("--cli", required=True)
    parser.add_argument("--data", type=Path, default=ROOT / "examples/ocr/data")
    parser.add_argument("--models", type=Path, default=ROOT / ".deps/ocr")
    args = parser.parse_args()
    if not list(args.models.glob("*.onnx")):
        sys.exit(f"FAILED: no networks in {args.models}; `./dev test` fetches them")
    networks = {part: Network(args.models, part) for part in ("det", "cls", "rec")}
    characters = networks["rec"].characters()
    problems = []
    with tempfile.TemporaryDirectory(prefix="headrace-ocr-") as folder:
        scratch = Path(folder)
        chosen = pictures(args.data, scratch)
        for path in chosen:
            check = check_picture(args.cli, path, args.models, networks, characters, scratch)
            problems += check.problems
    for problem in problems:
        print(f"  {problem}")
    print(f"{'FAILED' if problems else 'passed'}: {len(chosen)} pictures, {len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
