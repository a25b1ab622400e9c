"""A peer engine in a process of its own, for `headrace bench --compare`.

    python bench/peer.py onnxruntime|openvino MODEL.onnx --threads N [--outputs NAMES]

One command a line on stdin, one JSON object a line on stdout. The first comes unasked after loading:
    {"ready": true, "name": "onnxruntime", "version": "1.31.1", "load_ms": 120.5}
    prepare NAME=file.npy ...   ->  {"ok": true, "first_ms": 8.1}       sets the inputs and runs once
    run K                       ->  {"ms": [5.1, 5.0, ...]}             K awaited inferences, one by one
    outputs DIR                 ->  {"ok": true, "files": {"name": "DIR/name.npy"}}
    quit (or end of input)
A command that fails answers {"error": "..."} and the process goes on. A file name with spaces may be quoted.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import time
from pathlib import Path
from typing import Protocol

import numpy as np

Arrays = dict[str, np.ndarray]


class Peer(Protocol):
    version: str

    def prepare(self, inputs: Arrays) -> None: ...
    def run(self) -> None: ...
    def outputs(self) -> Arrays: ...


def with_outputs(model: str, outputs: list[str]) -> bytes:
    """The model with these intermediate tensors as outputs too; those that no node makes are left out."""
    import onnx

    proto = onnx.load(model)
    made = {name for node in proto.graph.node for name in node.output}
    have = {value.name for value in proto.graph.output}
    for name in outputs:
        if name in made and name not in have:
            proto.graph.output.append(onnx.ValueInfoProto(name=name))
            have.add(name)
    return proto.SerializeToString()


class OnnxRuntime:
    def __init__(self, model: str, threads: int, outputs: list[str]) -> None:
        import onnxruntime as ort

        self.version = ort.__version__
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # Its workers spin for work during a run, but not into the next engine's turn.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        source = with_outputs(model, outputs) if outputs else model
        self._session = ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])
        self._names = [value.name for value in self._session.get_outputs()]
        self._inputs: Arrays = {}
        self._outputs: list[np.ndarray] = []

    def prepare(self, inputs: Arrays) -> None:
        self._inputs = inputs

    def run(self) -> None:
        self._outputs = self._session.run(self._names, self._inputs)

    def outputs(self) -> Arrays:
        return dict(zip(self._names, self._outputs))


class OpenVino:
    def __init__(self, model: str, threads: int, outputs: list[str]) -> None:
        import openvino as ov

        if outputs:
            raise ValueError("intermediate tensors are asked of onnxruntime only")

        self.version = ov.__version__.split("-")[0]
        config = {
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": "f32",
        }
        self._compiled = ov.Core().compile_model(model, "CPU", config)
        self._request = self._compiled.create_infer_request()
        self._tensor = ov.Tensor
        self._inputs: dict[str, object] = {}

    def prepare(self, inputs: Arrays) -> None:
        self._inputs = {name: self._tensor(values) for name, values in inputs.items()}
        for name, tensor in self._inputs.items():
            self._request.set_tensor(name, tensor)

    def run(self) -> None:
        self._request.infer()

    def outputs(self) -> Arrays:
        return {
            name: self._request.get_tensor(port).data.copy()
            for port in self._compiled.outputs
            for name in port.get_names()
        }  # it may add aliases


PEERS: dict[str, type[OnnxRuntime] | type[OpenVino]] = {"onnxruntime": OnnxRuntime, "openvino": OpenVino}


def _timed_ms(peer: Peer) -> float:
    start = time.perf_counter_ns()
    peer.run()
    return (time.perf_counter_ns() - start) / 1e6


def answer(peer: Peer, words: list[str]) -> dict[str, object]:
    command, rest = words[0], words[1:]
    if command == "prepare":
        peer.prepare(
            {name: np.ascontiguousarray(np.load(file)) for name, _, file in (r.rpartition("=") for r in rest)}
        )
        return {"ok": True, "first_ms": _timed_ms(peer)}
    if command == "run" and len(rest) == 1:
        return {"ms": [_timed_ms(peer) for _ in range(int(rest[0]))]}
    if command == "outputs" and len(rest) == 1:
        folder = Path(rest[0])
        folder.mkdir(parents=True, exist_ok=True)
        files = {}
        for name, values in peer.outputs().items():
            files[name] = str(folder / f"{name.replace('/', '_')}.npy")
            np.save(files[name], values)
        return {"ok": True, "files": files}
    raise ValueError(f"unknown command `{' '.join(words)}`; there are prepare, run, outputs, quit")


def main() -> int:
    parser = argparse.ArgumentParser(description="A peer engine for `headrace bench --compare`.")
    parser.add_argument("name", choices=sorted(PEERS))
    parser.add_argument("model")
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--outputs", default="", help="intermediate tensors to return too, one a line")
    args = parser.parse_args()

    def say(message: dict[str, object]) -> None:
        print(json.dumps(message), flush=True)

    try:
        start = time.perf_counter_ns()
        peer: Peer = PEERS[args.name](args.model, args.threads, args.outputs.splitlines())
        say(
            {
                "ready": True,
                "name": args.name,
                "version": peer.version,
                "load_ms": (time.perf_counter_ns() - start) / 1e6,
            }
        )
    except Exception as error:  # the process is a boundary: the caller gets the reason as a message
        say({"error": f"{args.name}: {error}"})
        return 1
    for line in sys.stdin:
        words = shlex.split(line)
        if not words:
            continue
        if words[0] == "quit":
            break
        try:
            say(answer(peer, words))
        except Exception as error:
            say({"error": f"{args.name}: {error}"})
    return 0


if __name__ == "__main__":
    sys.exit(main())
