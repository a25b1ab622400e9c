"""headrace against PyTorch on one CUDA GPU, in the same run.

    python bench/gpu.py --cli build/release/headrace --models .deps/models [--nets resnet18,resnet50,mobilenet_v2]
        [--batches 1,8,128] [--work FOLDER] [--compile] [--json FILE]

Needs PyTorch and torchvision. For each network and batch: a plan in f16 tuned for that batch, and torchvision's network
in f16, channels_last, BatchNorm folded, as a CUDA graph; `--compile` adds torch.compile(mode="max-autotune"), which takes
minutes. Figures are device times of single graph replays by CUDA events, medians, without copies; headrace is measured
before and after each peer. Weights are random (speed does not depend on them); headrace's outputs are compared with its
own `reference`-checked f32 plan on the CPU, PyTorch's with its own f32 run.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
from pathlib import Path
from typing import Callable

import numpy as np
import torch
import torchvision
from torch.fx.experimental.optimization import fuse

Times = list[float]


def replay_us(run: Callable[[], object], repeats: int) -> Times:
    times = []
    for i in range(repeats + 5):
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        run()
        end.record()
        end.synchronize()
        if i >= 5:
            times.append(begin.elapsed_time(end) * 1000)
    return times


def torch_graph(run: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor) -> tuple[torch.cuda.CUDAGraph, torch.Tensor]:
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        for _ in range(5):
            run(x)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        y = run(x)
    return graph, y


class Headrace:
    def __init__(self, cli: str, models: Path, work: Path) -> None:
        self._cli, self._models, self._work = cli, models, work

    def _run(self, *words: str) -> None:
        subprocess.run([self._cli, *words], check=True, stdout=subprocess.DEVNULL)

    def build(self, net: str, batch: int) -> float:
        """Error of the f16 plan's output against the CPU's f32 plan, over the output's scale."""
        model = str(self._models / f"{net}.onnx")
        self._plan = str(self._work / f"{net}-{batch}.plan")
        profile = f"*={batch}:{batch}:{batch}"
        self._run("build", model, "-o", self._plan, "--device", "cuda:0", "--precision", "fp16", "--profile", profile,
                  "--timing-cache", str(self._work / "timing.cache"))  # fmt: skip
        self._batch = batch
        cpu = str(self._work / f"{net}-cpu.plan")
        self._run("build", model, "-o", cpu, "--opt-level", "0", "--profile", profile)
        ours, exact = (self._outputs(p) for p in (self._plan, cpu))
        return float(max(np.abs(a - b).max() / np.abs(b).max() for a, b in zip(ours, exact)))

    def _outputs(self, plan: str) -> list[np.ndarray]:
        folder = self._work / "out"
        for old in folder.glob("*.npy"):
            old.unlink()
        self._run("run", plan, "--seed", "7", "--output", str(folder))
        return [np.load(f).astype(np.float64) for f in sorted(folder.glob("*.npy"))]

    def bench(self, repeats: int) -> dict:
        file = self._work / "bench.json"
        self._run("bench", self._plan, "--batch", str(self._batch), "--iterations", str(repeats), "--json", str(file))
        return json.loads(file.read_text())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cli", required=True)
    parser.add_argument("--models", type=Path, required=True, help="folder of tools/models/make.py")
    parser.add_argument("--nets", default="resnet18,resnet50,mobilenet_v2")
    parser.add_argument("--batches", default="1,8,128")
    parser.add_argument("--repeats", type=int, default=100)
    parser.add_argument("--work", type=Path, default=Path("/tmp/headrace-gpu"))
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    torch.backends.cudnn.benchmark = True
    headrace = Headrace(args.cli, args.models, args.work)
    rows = []
    with torch.inference_mode():
        for net in args.nets.split(","):
            torch.manual_seed(1)
            exact = torchvision.models.get_model(net, weights=None).eval().cuda()
            model = fuse(exact).half().to(memory_format=torch.channels_last)
            for batch in map(int, args.batches.split(",")):
                x = torch.rand(batch, 3, 224, 224, device="cuda") * 2 - 1
                half = x.half().to(memory_format=torch.channels_last)
                expected = exact(x)
                peers = {"graph": model}
                if args.compile:
                    peers["compile"] = torch.compile(model, mode="max-autotune-no-cudagraphs")
                error = headrace.build(net, batch)
                for name, run in peers.items():
                    before = headrace.bench(args.repeats)
                    graph, y = torch_graph(run, half)
                    peer = statistics.median(replay_us(graph.replay, args.repeats))
                    after = headrace.bench(args.repeats)
                    ours = [r["device_us"]["median"] for r in (before, after)]
                    row = {
                        "net": net, "batch": batch, "peer": f"torch {name}", "headrace_us": min(ours), "spread_us": ours,
                        "peer_us": peer, "ratio": peer / min(ours), "latency_ms": after["latency_ms"]["median"],
                        "launches": after["launches"], "error": error,
                        "peer_error": float((y.float() - expected).abs().max() / expected.abs().max()),
                    }  # fmt: skip
                    rows.append(row)
                    print(f"{net:<13} b{batch:<4} headrace {ours[0]:8.1f} {ours[1]:8.1f} us  {row['peer']:<13} {peer:8.1f} us"
                          f"  ratio {row['ratio']:5.2f}  error {error:.1e} ({row['peer_error']:.1e})", flush=True)  # fmt: skip
    if args.json:
        args.json.write_text(json.dumps({"gpu": torch.cuda.get_device_name(), "torch": torch.__version__, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
