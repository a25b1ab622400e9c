"""`headrace bench --compare` and `verify --against` with the real peers, on a small network.

    python compare_test.py --cli build/release/headrace

OpenVINO takes part where it is installed (`./dev bench` installs it); that it does not is said aloud.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

LATENCY = {"n", "min", "median", "p90", "p99"}


def network(path: Path) -> None:
    rng = np.random.default_rng(3)
    weights = [
        numpy_helper.from_array(rng.normal(0, 0.3, shape).astype(np.float32), name)
        for name, shape in (("w", (8, 3, 3, 3)), ("b", (8,)), ("v", (8, 5)))
    ] + [numpy_helper.from_array(np.array([1, 1, 2, 2], np.float32), "scales")]
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("Resize", ["r", "", "scales"], ["s"], mode="nearest", nearest_mode="floor",
                         coordinate_transformation_mode="asymmetric"),
        helper.make_node("GlobalAveragePool", ["s"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("MatMul", ["f", "v"], ["y"]),
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, 16, 16])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 5])
    graph = helper.make_graph(nodes, "small", [x], [y], weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


def run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)  # a hang is a failure
    if done.returncode != 0:
        sys.exit(f"FAILED: {' '.join(command)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--cli", required=True)
    cli = parser.parse_args().cli
    peers = [name for name in ("onnxruntime", "openvino") if importlib.util.find_spec(name)]
    for name in {"onnxruntime", "openvino"} - set(peers):
        print(f"SKIPPED: {name} is not installed")
    if not peers:
        sys.exit("FAILED: no peer is installed; `./dev test` installs onnxruntime")
    with tempfile.TemporaryDirectory(prefix="headrace-compare-") as folder:
        model, plan, out = (str(Path(folder, name)) for name in ("m.onnx", "m.plan", "out.json"))
        network(Path(model))
        run(cli, "build", model, "-o", plan, "--opt-level", "0", "--profile", "*=1:2:4")
        run(cli, "bench", plan, "--compare", ",".join(peers), "--onnx", model, "--rounds", "4", "--iterations", "5",
            "--batch", "3", "--json", out)  # fmt: skip
        result = json.loads(Path(out).read_text())
        assert list(result["peers"]) == peers, result["peers"]
        assert result["shapes"] == {"x": [3, 3, 16, 16]}, result["shapes"]
        assert 0 <= result["max_difference"] < 1e-5, result["max_difference"]
        assert result["different_results"] == 0
        for name in peers:
            peer = result["peers"][name]
            assert set(peer) == {"version", "latency_ms", "throughput_per_s", "ratio"}, peer
            assert set(peer["latency_ms"]) == LATENCY and peer["latency_ms"]["n"] == 20, peer
            assert set(peer["ratio"]) == {"median", "p10", "p90", "rounds"} and peer["ratio"]["rounds"] == 4, peer
            assert 0 < peer["ratio"]["p10"] <= peer["ratio"]["median"] <= peer["ratio"]["p90"], peer
            assert peer["version"][0].isdigit(), peer
        if "onnxruntime" in peers:
            run(cli, "verify", model, "--against", "onnxruntime", "--per-layer", "--json", out)
            verified = json.loads(Path(out).read_text())
            assert verified["against"] == "onnxruntime" and verified["first_diverging"] == "", verified
            assert all(output["ok"] for output in verified["outputs"]), verified
    print(f"passed: {', '.join(peers)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
