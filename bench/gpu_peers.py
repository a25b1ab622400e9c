"""PyTorch's time for the ResNets on a CUDA GPU, for comparison with `headrace bench`.

    python bench/gpu_peers.py [--models resnet18,resnet50] [--batches 1,8,128] [--compile] [--json FILE]

Each network runs in f16, channels_last, BatchNorm folded by torch.fx where it can be, recorded as a CUDA graph and
replayed: the median device time of single replays after warm-up, by CUDA events. `--compile` adds
torch.compile(mode="max-autotune"), which takes minutes. Random weights: speed does not depend on them, and the
outputs are compared with PyTorch's own f32 run.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path
from typing import Callable

import torch
import torchvision
from torch.fx.experimental.optimization import fuse


def graph_us(run: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor, repeats: int) -> tuple[list[float], torch.Tensor]:
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        for _ in range(5):
            run(x)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        y = run(x)
    return replay_us(graph.replay, repeats), y


def replay_us(run: Callable[[], object], repeats: int) -> list[float]:
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


def summary(times: list[float]) -> dict[str, float]:
    ordered = sorted(times)
    return {"n": len(times), "min": ordered[0], "median": statistics.median(ordered), "p90": ordered[int(0.9 * (len(times) - 1))]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="resnet18,resnet50")
    parser.add_argument("--batches", default="1,8,128")
    parser.add_argument("--repeats", type=int, default=100)
    parser.add_argument("--compile", action="store_true", help="also torch.compile(max-autotune): minutes")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    torch.backends.cudnn.benchmark = True
    results: dict[str, dict[str, float]] = {}
    with torch.inference_mode():
        for name in args.models.split(","):
            torch.manual_seed(1)
            exact = torchvision.models.get_model(name, weights=None).eval().cuda()
            model = fuse(exact).half().to(memory_format=torch.channels_last)
            for batch in map(int, args.batches.split(",")):
                x = torch.rand(batch, 3, 224, 224, device="cuda") * 2 - 1
                half = x.half().to(memory_format=torch.channels_last)
                expected = exact(x)
                candidates = {"eager_graph": model}
                if args.compile:
                    candidates["compile"] = torch.compile(model, mode="max-autotune-no-cudagraphs")
                for kind, run in candidates.items():
                    times, y = graph_us(run, half, args.repeats)
                    error = float((y.float() - expected).abs().max() / expected.abs().max())
                    results[f"{name} b{batch} {kind}"] = {**summary(times), "error": error}
                    print(f"{name:<10} b{batch:<4} {kind:<12} median {statistics.median(times):9.1f} us  error {error:.1e}", flush=True)
    if args.json:
        args.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
