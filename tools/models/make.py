"""Writes the project's test networks as ONNX files with seeded weights.

    python tools/models/make.py --list
    python tools/models/make.py --out models resnet18 yolox_m      (no names: all)

Needs only onnx and numpy. The same call gives the same bytes.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path

from mobilenet import mobilenet9, mobilenet_v2
from net import Net
from pointpillars import pointpillars_rpn
from resnet import resnet18, resnet50
from yolox import yolox_m

MODELS: dict[str, tuple[Callable[[], Net], str]] = {
    "resnet18": (resnet18, "input Nx3x224x224"),
    "resnet50": (resnet50, "input Nx3x224x224"),
    "mobilenet_v2": (mobilenet_v2, "input Nx3x224x224"),
    "mobilenet9": (mobilenet9, "input 1x3x720x1280, nine output maps"),
    "pointpillars_rpn": (pointpillars_rpn, "bev Nx64x496x432"),
    "yolox_m": (yolox_m, "images Nx3x640x640"),
}


def write(name: str, folder: Path) -> None:
    net = MODELS[name][0]()
    data = net.model().SerializeToString(deterministic=True)
    target = folder / f"{name}.onnx"
    partial = target.with_suffix(".onnx.partial")
    partial.write_bytes(data)
    os.replace(partial, target)
    print(f"{name}: {net.parameters / 1e6:.2f} M parameters, {len(data) / 1e6:.1f} MB, {target}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(
        description="Writes the test networks as ONNX files with seeded weights."
    )
    parser.add_argument(
        "--out", type=Path, default=Path("models"), help="folder for the files (default: models)"
    )
    parser.add_argument("--list", action="store_true", help="list the names and stop")
    parser.add_argument("names", nargs="*", help="networks to write (default: all)")
    args = parser.parse_args()
    if args.list:
        for name, (_, inputs) in MODELS.items():
            print(f"{name:18} {inputs}")
        return 0
    unknown = [n for n in args.names if n not in MODELS]
    if unknown:
        parser.error(f"unknown network {', '.join(unknown)}; there are {', '.join(MODELS)}")
    args.out.mkdir(parents=True, exist_ok=True)
    for name in args.names or MODELS:
        write(name, args.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
