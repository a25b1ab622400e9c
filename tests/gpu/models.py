"""Networks on a GPU: against the CPU's fp32 plan, recorded against launch by launch, and under the hazard checker.

    python tests/gpu/models.py --cli build/release/headrace --models .deps/models [--ocr .deps/ocr] [names...]

For each network and precision: a plan for the GPU (opt level 0) and one for the CPU, one seeded inference each. Told and
bounded are, over all outputs, the largest root mean square of the error over that of the output, and the largest error over
the output's scale. Prints one line per network and precision; the exit code is 1 when any of them fails.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

# name: file, arguments of build, arguments of run
NETWORKS: dict[str, tuple[str, list[str], list[str]]] = {
    "resnet18": ("resnet18.onnx", ["--profile", "*=1:4:8"], ["--batch", "3"]),
    "resnet50": ("resnet50.onnx", ["--profile", "*=1:4:8"], ["--batch", "3"]),
    "mobilenet_v2": ("mobilenet_v2.onnx", ["--profile", "*=1:4:8"], ["--batch", "5"]),
    "mobilenet9": ("mobilenet9.onnx", [], []),
    "pointpillars_rpn": ("pointpillars_rpn.onnx", ["--profile", "*=1:1:2"], ["--batch", "1"]),
    "yolox_m": ("yolox_m.onnx", ["--profile", "*=1:1:2"], ["--batch", "1"]),
    "ocr_det": ("ch_PP-OCRv4_det_infer.onnx", [], ["--shapes", "x=1x3x192x288"]),
    "ocr_cls": ("ch_ppocr_mobile_v2.0_cls_infer.onnx", [], ["--shapes", "x=6x3x48x192"]),
    "ocr_rec": ("ch_PP-OCRv4_rec_infer.onnx", [], ["--shapes", "x=2x3x48x320"]),
}
# Of the root mean square, and of single elements: the networks' weights are random and up to 70 layers round to f16.
TOLERANCE = {"fp32": (1e-4, 1e-3), "fp16": (2e-2, 1e-1)}
# One of its nine outputs is off by 4.6 % of its size in f16, in every element alike.
F16_RMS = {"mobilenet9": 6e-2}


class Runner:
    def __init__(self, cli: Path, folder: Path) -> None:
        self.cli, self.folder = cli, folder

    def headrace(self, *words: str) -> str:
        done = subprocess.run([self.cli, *words], capture_output=True, text=True, cwd=self.folder)
        if done.returncode != 0:
            raise RuntimeError(f"headrace {' '.join(words)} ended with {done.returncode}: {done.stderr[-600:]}")
        return done.stderr

    def outputs(self, plan: str, arguments: list[str], *more: str) -> list[np.ndarray]:
        target = self.folder / "out"
        for old in target.glob("*.npy"):
            old.unlink()
        self.headrace("run", plan, "--seed", "7", "--output", "out", *arguments, *more)
        return [np.load(f) for f in sorted(target.glob("*.npy"))]


def errors(have: list[np.ndarray], want: list[np.ndarray]) -> tuple[float, float]:
    if [a.shape for a in have] != [b.shape for b in want]:
        return float("inf"), float("inf")
    worst_rms = worst = 0.0
    for a, b in zip(have, want):
        if a.size == 0:
            continue
        a, b = a.astype(np.float64), b.astype(np.float64)
        rms = float(np.sqrt(np.mean((a - b) ** 2) / max(np.mean(b**2), 1e-12)))
        largest = float(np.abs(a - b).max() / max(np.abs(b).max(), 1e-6))
        if not np.isfinite(rms + largest):
            return float("inf"), float("inf")
        worst_rms, worst = max(worst_rms, rms), max(worst, largest)
    return worst_rms, worst


def same(a: list[np.ndarray], b: list[np.ndarray]) -> bool:
    return len(a) == len(b) and all(x.tobytes() == y.tobytes() for x, y in zip(a, b))


def check(runner: Runner, model: Path, build: list[str], run: list[str]) -> list[str]:
    runner.headrace("build", str(model), "-o", "cpu.plan", "--device", "cpu", "--opt-level", "0", *build)
    want = runner.outputs("cpu.plan", run)
    problems = []
    for precision, tolerance in TOLERANCE.items():
        if precision == "fp16":
            tolerance = (F16_RMS.get(model.stem, tolerance[0]), tolerance[1])
        begin = time.monotonic()
        runner.headrace("build", str(model), "-o", "gpu.plan", "--device", "cuda:0", "--opt-level", "0",
                        "--precision", precision, *build)  # fmt: skip
        recorded = runner.outputs("gpu.plan", run)
        launched = runner.outputs("gpu.plan", run, "--recordings", "0")
        checked = runner.outputs("gpu.plan", run, "--check-hazards")  # a hazard is exit code 12
        rms, largest = errors(recorded, want)
        wrong = [text for bad, text in (
            (rms > tolerance[0] or largest > tolerance[1], f"above {tolerance[0]:g}, {tolerance[1]:g}"),
            (not same(recorded, launched), "recorded is not launched"),
            (not same(recorded, checked), "other bits under the hazard checker")) if bad]  # fmt: skip
        print(f"  {model.stem:<32} {precision}  rms {rms:.1e}  largest {largest:.1e}  {time.monotonic() - begin:5.1f} s  "
              f"{'; '.join(wrong) if wrong else 'ok'}", flush=True)  # fmt: skip
        problems += wrong
    return problems


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--cli", type=Path, required=True)
    parser.add_argument("--models", type=Path, required=True, help="folder of tools/models/make.py")
    parser.add_argument("--ocr", type=Path, help="folder of the OCR networks")
    parser.add_argument("names", nargs="*", help=f"some of: {' '.join(NETWORKS)} (default: those that are there)")
    args = parser.parse_args()
    failed, ran = [], 0
    for name in args.names or NETWORKS:
        file, build, run = NETWORKS[name]
        folders = [f for f in (args.models, args.ocr) if f and (f / file).exists()]
        if not folders:
            if args.names:
                parser.error(f"{file} is in none of the folders")
            print(f"  {name}: {file} is not there, not run")
            continue
        ran += 1
        with tempfile.TemporaryDirectory() as folder:
            try:
                if check(Runner(args.cli.resolve(), Path(folder)), (folders[0] / file).resolve(), build, run):
                    failed.append(name)
            except RuntimeError as e:
                print(f"  {name}: {e}", flush=True)
                failed.append(name)
    print(f"models: {ran - len(failed)} of {ran} right" + (f"; not {', '.join(failed)}" if failed else ""))
    return 1 if failed or ran == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
