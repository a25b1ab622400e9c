"""Compares every model of the project with ONNX Runtime; see compare_ort.py.

    python tests/models/all_models.py --cli build/release/headrace [names...]

--models has the files of tools/models/make.py; --ocr those of the PyPI package rapidocr-onnxruntime.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
DEPS = HERE.parents[1] / ".deps"
PICTURES = HERE.parents[1] / "examples" / "ocr" / "data"
# name: folder, file, arguments of compare_ort.py
MODELS: dict[str, tuple[str, str, list[str]]] = {
    "resnet18": ("models", "resnet18.onnx", ["--batch", "1", "3", "16"]),
    "resnet50": ("models", "resnet50.onnx", ["--batch", "1", "3"]),
    "mobilenet_v2": ("models", "mobilenet_v2.onnx", ["--batch", "1", "5"]),
    "mobilenet9": ("models", "mobilenet9.onnx", ["--batch", "1"]),
    "pointpillars_rpn": ("models", "pointpillars_rpn.onnx", ["--batch", "1", "2"]),
    "yolox_m": ("models", "yolox_m.onnx", ["--batch", "1", "2"]),
    "ocr_det": (
        "ocr",
        "ch_PP-OCRv4_det_infer.onnx",
        [
            "--image",
            str(PICTURES / "labels.jpg"),  # on noise it finds no text and all outputs vanish
            "--shapes",
            "x=1x3x192x288",
            "--shapes",
            "x=1x3x736x992",
            "--shapes",
            "x=2x3x320x640",
        ],
    ),
    "ocr_cls": (
        "ocr",
        "ch_ppocr_mobile_v2.0_cls_infer.onnx",
        ["--shapes", "x=1x3x48x192", "--shapes", "x=6x3x48x192"],
    ),
    "ocr_rec": (
        "ocr",
        "ch_PP-OCRv4_rec_infer.onnx",
        ["--shapes", "x=1x3x48x320", "--shapes", "x=6x3x48x640", "--shapes", "x=2x3x48x48"],
    ),
}


def main() -> int:
    parser = argparse.ArgumentParser(description="Compares every model of the project with ONNX Runtime.")
    parser.add_argument("--cli", type=Path, required=True, help="the headrace program")
    parser.add_argument("--models", type=Path, default=DEPS / "models", help="folder of the generated models")
    parser.add_argument("--ocr", type=Path, default=DEPS / "ocr", help="folder of the OCR models")
    parser.add_argument("--opt-level", default="0")
    parser.add_argument("names", nargs="*", help=f"some of: {' '.join(MODELS)} (default: all)")
    args = parser.parse_args()
    unknown = [n for n in args.names if n not in MODELS]
    if unknown:
        parser.error(f"unknown model {', '.join(unknown)}")
    failed = []
    for name in args.names or MODELS:
        folder, file, extra = MODELS[name]
        model = (args.models if folder == "models" else args.ocr) / file
        command = [
            sys.executable,
            str(HERE / "compare_ort.py"),
            "--cli",
            str(args.cli),
            str(model),
            "--opt-level",
            args.opt_level,
            *extra,
        ]
        if subprocess.run(command).returncode != 0:
            failed.append(name)
    total = len(args.names or MODELS)
    print(
        f"models: {total - len(failed)} of {total} match ONNX Runtime"
        + (f"; not {', '.join(failed)}" if failed else "")
    )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
