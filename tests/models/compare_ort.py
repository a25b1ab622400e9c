"""Compares headrace with ONNX Runtime on one model: build, run, same seeded inputs, every output.

    python tests/models/compare_ort.py --cli build/headrace det.onnx --shapes x=1x3x64x96 --shapes x=2x3x32x32
    python tests/models/compare_ort.py --cli build/headrace resnet18.onnx --batch 1 2 5

Every --shapes (`NAME=1x3x8x8[,NAME=...]`) or --batch is one run; the plan is built once, for all of them.
An output passes when max |difference| <= tolerance * max |reference|. Exit code: 0 all pass, 1 otherwise.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnxruntime as ort

Shapes = dict[str, tuple[int, ...]]
ELEMENT_TYPES = {
    "float": np.float32,
    "double": np.float64,
    "float16": np.float16,
    "int64": np.int64,
    "int32": np.int32,
}


def session_for(model: Path, threads: int) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    return ort.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])


def parse_shapes(text: str) -> Shapes:
    shapes = {}
    for part in text.split(","):
        name, _, dims = part.rpartition("=")
        if not name or not re.fullmatch(r"\d+(x\d+)*", dims):
            raise SystemExit(f"--shapes {text}: expected NAME=1x3x224x224")
        shapes[name] = tuple(int(d) for d in dims.split("x"))
    return shapes


def batch_shapes(session: ort.InferenceSession, batch: int) -> Shapes:
    """The declared shapes, with `batch` for a dynamic first dimension."""
    shapes = {}
    for value in session.get_inputs():
        dims = [batch if i == 0 and not isinstance(d, int) else d for i, d in enumerate(value.shape)]
        if not all(isinstance(d, int) for d in dims):
            raise SystemExit(
                f"input {value.name} has shape {value.shape}: more than the batch is dynamic, use --shapes"
            )
        shapes[value.name] = tuple(dims)
    return shapes


def image_input(file: Path, shape: tuple[int, ...]) -> np.ndarray:
    """The picture resized to the shape, values -1 to 1; every other item of the batch is mirrored."""
    from PIL import Image

    count, _, height, width = shape
    pixels = np.asarray(Image.open(file).convert("RGB").resize((width, height)), dtype=np.float32)
    plane = (pixels / 127.5 - 1.0).transpose(2, 0, 1)
    return np.ascontiguousarray(np.stack([plane[:, :, ::-1] if i % 2 else plane for i in range(count)]))


def make_inputs(
    session: ort.InferenceSession, shapes: Shapes, seed: int, image: Path | None
) -> dict[str, np.ndarray]:
    """The picture for the only input where there is one, else seeded random numbers."""
    if image is not None:
        (name,) = (value.name for value in session.get_inputs())
        return {name: image_input(image, shapes[name])}
    rng = np.random.default_rng(seed)
    inputs = {}
    for value in session.get_inputs():
        kind = re.fullmatch(r"tensor\((\w+)\)", value.type)
        dtype = ELEMENT_TYPES.get(kind.group(1)) if kind else None
        if dtype is None or value.name not in shapes:
            raise SystemExit(f"input {value.name} of {value.type}: no shape given or type not handled here")
        # As a normalised picture has it. Larger values drive YOLOX-m into rounding noise: ONNX Runtime with and without
        # its optimiser then differs from itself by 3e-4 of the scale.
        inputs[value.name] = rng.uniform(-1, 1, shapes[value.name]).astype(dtype)
    return inputs


def call(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"FAIL {' '.join(command)}\nexit code {done.returncode}\n{done.stdout}{done.stderr}")


def profiles(session: ort.InferenceSession, cases: list[Shapes]) -> list[str]:
    """--profile flags that span all cases; the last case is what the plan is tuned for."""
    flags = []
    for value in session.get_inputs():
        if all(isinstance(d, int) for d in value.shape):
            continue
        dims = np.array([case[value.name] for case in cases])
        spans = ["x".join(map(str, row)) for row in (dims.min(axis=0), dims[-1], dims.max(axis=0))]
        flags += ["--profile", f"{value.name}={':'.join(spans)}"]
    return flags


def compare(
    session: ort.InferenceSession, got_dir: Path, inputs: dict[str, np.ndarray], tolerance: float
) -> bool:
    good = True
    names = [value.name for value in session.get_outputs()]
    for name, want in zip(names, session.run(names, inputs)):
        file = got_dir / f"{name.replace('/', '_')}.npy"
        got = np.load(file)
        if got.shape != want.shape or got.dtype != want.dtype:
            print(f"  {name}: FAIL {got.dtype}{list(got.shape)}, expected {want.dtype}{list(want.shape)}")
            good = False
            continue
        if want.size == 0:
            continue
        a, b = got.astype(np.float64), want.astype(np.float64)
        scale = float(np.abs(b).max()) or 1.0
        error = float(np.abs(a - b).max()) / scale
        passed = error <= tolerance and bool(np.isfinite(a).all())  # a NaN compares false
        verdict = "ok" if passed else "FAIL"
        print(f"  {name} {list(want.shape)}: {verdict} relative error {error:.2e}, scale {scale:.3g}")
        good = good and passed
    return good


def main() -> int:
    parser = argparse.ArgumentParser(description="Compares headrace with ONNX Runtime on one model.")
    parser.add_argument("model", type=Path)
    parser.add_argument("--cli", type=Path, required=True, help="the headrace program")
    parser.add_argument("--shapes", action="append", default=[], metavar="NAME=1x3x8x8[,NAME=...]")
    parser.add_argument("--batch", type=int, nargs="*", default=[])
    parser.add_argument(
        "--image", type=Path, help="a picture as input instead of random numbers (needs Pillow)"
    )
    parser.add_argument("--tolerance", type=float, default=1e-4)
    parser.add_argument("--opt-level", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2, help="of ONNX Runtime")
    parser.add_argument("--seed", type=int, default=7)
    args = parser.parse_args()

    session = session_for(args.model, args.threads)
    cases = [parse_shapes(s) for s in args.shapes] + [batch_shapes(session, b) for b in args.batch]
    cases = cases or [batch_shapes(session, 1)]
    good = True
    with tempfile.TemporaryDirectory(prefix="headrace-models-") as scratch:
        plan = Path(scratch, "model.plan")
        build = [str(args.cli), "build", str(args.model), "-o", str(plan), "--opt-level", str(args.opt_level)]
        call(build + profiles(session, cases))
        for i, shapes in enumerate(cases):
            inputs = make_inputs(session, shapes, args.seed + i, args.image)
            out = Path(scratch, f"out{i}")
            out.mkdir()
            run = [str(args.cli), "run", str(plan), "--output", str(out)]
            for j, (name, values) in enumerate(inputs.items()):
                file = Path(scratch, f"in{i}_{j}.npy")
                np.save(file, values)
                run += ["--input", f"{name}={file}"]
            call(run)
            print(f"{args.model.name} " + " ".join(f"{n}={list(s)}" for n, s in shapes.items()))
            good = compare(session, out, inputs, args.tolerance) and good
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
