"""headrace against its peers on one CUDA GPU, in the same run.

    python bench/gpu.py --cli build/release/headrace --models .deps/models [--rows resnet18:1,8,128 yolox_m:1,16 ...]
        [--peers graph,cudnn,xla,compile] [--saved FILE] [--work FOLDER] [--json FILE]

Needs PyTorch and onnx (JAX for `xla`). For each network and batch: a plan in f16 tuned for that batch, and the same ONNX
file and weights run by each peer in f16, channels_last, BatchNorm folded:

    graph    PyTorch's own operators, as a CUDA graph
    cudnn    the same with cuDNN's fused convolution (+ add) + ReLU calls where they apply, as a CUDA graph
    compile  torch.compile(mode="max-autotune") with freezing; takes minutes a row
    xla      JAX; timed by the host over queued calls, since it launches by itself (ResNets, MobileNetV2)

Figures are device times of single graph replays by CUDA events, medians, without copies; headrace is measured before and
after the peers. Outputs are compared with PyTorch's f32 run without TF32: error is the largest difference over the
output's scale. `--saved` takes peers' times from a file written by `--json` earlier (for slow compilations); such rows are
marked.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import time
from pathlib import Path
from typing import Any, Callable

os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

import numpy as np  # noqa: E402
import torch  # noqa: E402
from peer_nets import Net, TorchNet, jax_function, read_net  # noqa: E402

ROWS = ["resnet18:1,8,128", "resnet50:1,8,128", "mobilenet_v2:1,128", "yolox_m:1,16", "pointpillars_rpn:1", "mobilenet9:1"]
SHAPES = {"yolox_m": (3, 640, 640), "pointpillars_rpn": (64, 496, 432), "mobilenet9": (3, 720, 1280)}


def replay_us(run: Callable[[], object], repeats: int) -> float:
    times = []
    for i in range(repeats + 5):
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        run()
        end.record()
        end.synchronize()
        if i >= 5:
            times.append(begin.elapsed_time(end) * 1000)
    return statistics.median(times)


def error(ours: list[np.ndarray], exact: list[np.ndarray]) -> float:
    if len(ours) != len(exact) or any(a.shape != b.shape for a, b in zip(ours, exact)):
        return float("inf")
    worst = max(np.abs(a.astype(np.float64) - b).max() / np.abs(b).max() for a, b in zip(ours, exact))
    return float(worst) if np.isfinite(worst) else float("inf")


class Peers:
    """Each peer returns (microseconds, error)."""

    def __init__(self, net: Net, x: torch.Tensor, repeats: int) -> None:
        self.net, self.repeats, self.x = net, repeats, x
        self.half = x.half().contiguous(memory_format=torch.channels_last)
        exact = TorchNet(net, torch.float32).cuda()
        self.exact = [y.double().cpu().numpy() for y in exact(x)]
        self.names = net.outputs

    def _graph(self, run: Callable[[torch.Tensor], list[torch.Tensor]]) -> tuple[float, float]:
        side = torch.cuda.Stream()
        with torch.cuda.stream(side):
            for _ in range(5):
                run(self.half)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            ys = run(self.half)
        us = replay_us(graph.replay, self.repeats)
        return us, error([y.double().cpu().numpy() for y in ys], self.exact)

    def graph(self) -> tuple[float, float]:
        return self._graph(TorchNet(self.net, torch.float16).cuda())

    def cudnn(self) -> tuple[float, float]:
        return self._graph(TorchNet(self.net, torch.float16, fused=True).cuda())

    def compile(self) -> tuple[float, float]:
        import torch._inductor.config as inductor

        inductor.freezing = True
        module = TorchNet(self.net, torch.float16).cuda().eval()
        return self._graph(torch.compile(module, mode="max-autotune-no-cudagraphs"))

    def xla(self) -> tuple[float, float]:
        import jax

        run, weights = jax_function(self.net, "float16")
        x = jax.numpy.asarray(self.x.permute(0, 2, 3, 1).half().cpu().numpy())
        compiled = jax.jit(run).lower(weights, x).compile()
        compiled(weights, x).block_until_ready()
        times = []
        for _ in range(7):
            begin = time.perf_counter()
            for _ in range(20):
                y = compiled(weights, x)
            y.block_until_ready()
            times.append((time.perf_counter() - begin) / 20 * 1e6)
        return statistics.median(times), error([np.asarray(y)], self.exact)


class Headrace:
    def __init__(self, cli: str, models: Path, work: Path) -> None:
        self._cli, self._models, self._work = cli, models, work

    def _run(self, *words: str) -> None:
        done = subprocess.run([self._cli, *words], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        if done.returncode:
            raise RuntimeError(f"headrace {words[0]} failed: {done.stderr[-400:]}")

    def build(self, net: str, shape: tuple[int, ...], names: list[str], inputs: str, x: np.ndarray) -> list[np.ndarray]:
        """Builds the plan (seconds in self.build_s) and returns its outputs for x."""
        self._plan, self._batch = str(self._work / f"{net}-{shape[0]}.plan"), shape[0]
        begin = time.perf_counter()
        dynamic = [] if net == "mobilenet9" else ["--profile", f"*={shape[0]}:{shape[0]}:{shape[0]}"]
        self._run("build", str(self._models / f"{net}.onnx"), "-o", self._plan, "--device", "cuda:0", "--precision", "fp16",
                  "--timing-cache", str(self._work / "timing.cache"), *dynamic)  # fmt: skip
        self.build_s = time.perf_counter() - begin
        folder = self._work / "out"
        for old in folder.glob("*.npy"):
            old.unlink()
        np.save(self._work / "x.npy", x)
        self._run("run", self._plan, "--input", f"{inputs}={self._work / 'x.npy'}", "--output", str(folder))
        return [np.load(folder / f"{name}.npy") for name in names]

    def bench(self, repeats: int) -> dict[str, Any]:
        file = self._work / "bench.json"
        self._run("bench", self._plan, "--batch", str(self._batch), "--iterations", str(repeats), "--json", str(file))
        return json.loads(file.read_text())


def clock_mhz() -> str:
    query = ["nvidia-smi", "--query-gpu=clocks.sm", "--format=csv,noheader,nounits"]
    return subprocess.run(query, capture_output=True, text=True).stdout.strip()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cli", required=True)
    parser.add_argument("--models", type=Path, required=True, help="folder of tools/models/make.py")
    parser.add_argument("--rows", nargs="+", default=ROWS)
    parser.add_argument("--peers", default="graph,cudnn,xla")
    parser.add_argument("--repeats", type=int, default=100)
    parser.add_argument("--work", type=Path, default=Path("/tmp/headrace-gpu"))
    parser.add_argument("--saved", type=Path)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    torch.backends.cudnn.benchmark = True
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    saved = json.loads(args.saved.read_text())["rows"] if args.saved else []
    headrace = Headrace(args.cli, args.models, args.work)
    rows: list[dict[str, Any]] = []
    with torch.inference_mode():
        for name, batches in (r.split(":") for r in args.rows):
            net = read_net(str(args.models / f"{name}.onnx"))
            for batch in map(int, batches.split(",")):
                shape = (batch, *SHAPES.get(name, (3, 224, 224)))
                torch.manual_seed(1)
                x = torch.rand(shape, device="cuda") * 2 - 1
                peers = Peers(net, x, args.repeats)
                row: dict[str, Any] = {"net": name, "batch": batch, "clock_mhz": clock_mhz(), "peers": {}}
                try:
                    ours = headrace.build(name, shape, net.outputs, net.inputs[0], x.cpu().numpy())
                    row |= {"error": error(ours, peers.exact), "build_s": headrace.build_s}
                    before = headrace.bench(args.repeats)
                    for old in (s for s in saved if s["net"] == name and s["batch"] == batch):
                        row["peers"] |= {f"{k} (saved)": v for k, v in old["peers"].items()}
                    for peer in filter(None, args.peers.split(",")):
                        try:
                            us, wrong = getattr(peers, peer)()
                            row["peers"][peer] = {"us": us, "error": wrong}
                        except Exception as e:  # noqa: BLE001  a peer that cannot is a row without it
                            print(f"  {name} b{batch} {peer}: {type(e).__name__}: {str(e)[:120]}", flush=True)
                    after = headrace.bench(args.repeats)
                    us = [r["device_us"]["median"] for r in (before, after)]
                    row |= {"headrace_us": min(us), "spread_us": us, "launches": after["launches"],
                            "latency_ms": after["latency_ms"]["median"], "load_ms": after["load_and_first_inference_ms"]}  # fmt: skip
                    best = min((p["us"] for p in row["peers"].values() if p["error"] < 0.05), default=float("nan"))
                    row["ratio"] = best / row["headrace_us"]
                    times = "  ".join(f"{k} {v['us']:.0f}" + ("" if v["error"] < 0.05 else " WRONG") for k, v in row["peers"].items())
                    print(f"{name:<17} b{batch:<4} headrace {us[0]:8.1f} {us[1]:8.1f} us  ratio {row['ratio']:5.2f}  "
                          f"error {row['error']:.1e}  {times}  build {row['build_s']:.1f} s  {row['clock_mhz']} MHz", flush=True)  # fmt: skip
                except RuntimeError as e:
                    row["failed"] = str(e)
                    print(f"{name} b{batch}: {e}", flush=True)
                rows.append(row)
                if args.json:
                    args.json.write_text(json.dumps({"gpu": torch.cuda.get_device_name(), "torch": torch.__version__, "rows": rows}, indent=1) + "\n")  # fmt: skip


if __name__ == "__main__":
    main()
