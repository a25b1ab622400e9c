#!/usr/bin/env python3
"""Checks who includes whom, where vendors' headers are, and that threads and clocks stay behind base/sched.h.

    python3 tools/check_includes.py [--self-test]

The rules are the tables below; docs/architecture.md explains them. Exit code 1 and one line per violation.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LOWEST = {"headrace/types.h", "headrace/error.h", "headrace/log.h", "headrace/input_format.h"}  # public headers that every layer may use

# layer -> the layers whose headers it may include directly (closed transitively below)
LAYERS = {
    "base": set(),
    "core": {"base"},
    "graph": {"core"},
    "onnx": {"graph"},
    "passes": {"graph"},
    "device": {"base"},
    "plan": {"core"},
    "backend.h": {"core", "device"},
    "backends": {"backend.h"},
    "tuner": {"backend.h"},
    "compiler": {"onnx", "passes", "tuner", "plan", "backend.h"},
    "runtime": {"plan", "backend.h"},
    "pipeline": {"runtime"},
    "api": {"runtime", "pipeline", "backends", "compiler"},
    "ladder": {"api"},
    "workload": {"ladder"},
}
# public headers beyond LOWEST that a layer implements
PUBLIC = {"api": None, "ladder": None, "workload": None, "runtime": {"headrace/tensor.h", "headrace/runtime.h"},
          "pipeline": {"headrace/tensor.h", "headrace/runtime.h", "headrace/session.h",
                       "headrace/pipeline.h", "headrace/latency.h", "headrace/dlpack.h"}}

# vendor header pattern -> folders of src that may include it
VENDORS = [
    (r"(cuda|cudnn|cublas|nvrtc|cub/)", ("src/backends/cuda/",)),
    (r"nvtx3/", ("src/base/nvtx.cc",)),
    (r"(dnnl|oneapi/)", ("src/backends/cpu/",)),
    (r"hwy/", ("src/backends/cpu/",)),
    (r"protozero/", ("src/onnx/",)),
    (r"(flatbuffers/|plan_generated\.h)", ("src/plan/",)),
    (r"nanobind/", ("python/",)),
    (r"xxhash", ("src/base/",)),
    (r"(CLI/|stb)", ("cli/", "examples/")),
]
SCHED = re.compile(r"std::(thread|jthread|mutex|recursive_mutex|shared_mutex|timed_mutex|condition_variable(_any)?|this_thread"
                   r"|async|promise)\b|\b(steady_clock|system_clock|high_resolution_clock)::now\b|\bpthread_(create|mutex)")
SCHED_HEADERS = {"thread", "mutex", "condition_variable", "shared_mutex", "future"}
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')


def closure() -> dict[str, set[str]]:
    allowed = {name: set(direct) | {name} for name, direct in LAYERS.items()}
    changed = True
    while changed:
        changed = False
        for name, reach in allowed.items():
            more = set().union(*(allowed[r] for r in reach)) - reach
            if more:
                reach |= more
                changed = True
    return allowed


ALLOWED = closure()


def layer_of(path: str) -> str | None:
    """The layer of a file below src/, given relative to src: `backends/backend.h` is a layer of its own."""
    if path.startswith("backends/"):
        return "backend.h" if path.count("/") == 1 else "backends"
    first = path.split("/")[0]
    return first if "/" in path and first in LAYERS else None


def backend_of(path: str) -> str:
    return path.split("/")[1]


def code_lines(text: str):
    """Lines without comments; strings are emptied except in #include lines."""
    text = re.sub(r"/\*.*?\*/", lambda m: "\n" * m.group(0).count("\n"), text, flags=re.S)
    for number, line in enumerate(text.split("\n"), 1):
        if not INCLUDE.match(line):
            line = re.sub(r'"(\\.|[^"\\])*"', '""', line)
        yield number, re.sub(r"//.*", "", line) if not INCLUDE.match(line) else line


def check(path: str, text: str) -> list[str]:
    """All violations of one file; path is relative to the repository."""
    found = []

    def report(number: int, message: str) -> None:
        found.append(f"{path}:{number}: {message}")

    in_src = path.startswith("src/")
    public = path.startswith("include/headrace/")
    layer = layer_of(path[4:]) if in_src else None
    if in_src and layer is None:
        report(1, "this folder of src is in no layer; add it to LAYERS in tools/check_includes.py")
        return found
    # future.h: an adaptor for callers, which nothing of headrace includes
    sched_seam = path.startswith("src/base/sched") or path == "include/headrace/future.h"
    for number, line in code_lines(text):
        include = INCLUDE.match(line)
        if include:
            header = include.group(2)
            for pattern, folders in VENDORS:
                if re.match(pattern, header) and not path.startswith(folders) and not path.startswith(("tests/", "bench/")):
                    report(number, f"{header} is a vendor's header and stays in {', '.join(folders)}")
            if header.startswith("headrace/"):
                if in_src and header not in LOWEST:
                    extra = PUBLIC.get(layer, set())
                    if extra is not None and header not in extra:
                        report(number, f"{layer} may not include <{header}>; it implements no part of the public API")
                if public and path[8:] in LOWEST and header not in LOWEST:
                    report(number, f"this header is of the lowest layer and may not include <{header}>")
                continue
            if include.group(1) == "<" and (in_src or public) and header in SCHED_HEADERS and not sched_seam:
                report(number, f"<{header}> belongs behind base/sched.h")
            if include.group(1) == "<":
                continue
            target = layer_of(header)
            if target and public:
                report(number, f"a public header may not include {header}")
            elif target and path.startswith(("cli/", "python/", "examples/")):
                report(number, f"{header}: cli, python and examples use <headrace/...> only")
            elif target and in_src:
                if target not in ALLOWED[layer]:
                    report(number, f"{layer} may not include {target} ({header})")
                elif target == "backends" and layer == "backends" and backend_of(header) != backend_of(path[4:]):
                    report(number, f"no backend includes another ({header})")
        elif (in_src or public) and not sched_seam:
            use = SCHED.search(line)
            if use:
                report(number, f"{use.group(0)} stays in base/sched.h: use its Thread, Mutex, CondVar, Clock")
    return found


def self_test() -> list[str]:
    """Each rule must be able to fail."""
    must_fail = [
        ("src/base/x.cc", '#include "core/op.h"'), ("src/runtime/x.cc", '#include "graph/graph.h"'),
        ("src/runtime/x.cc", '#include "compiler/compiler.h"'), ("src/plan/x.cc", '#include "device/device.h"'),
        ("src/device/x.cc", '#include "core/op.h"'), ("src/graph/x.cc", "#include <headrace/session.h>"),
        ("src/backends/cpu/x.cc", '#include "backends/reference/y.h"'), ("src/compiler/x.cc", '#include "backends/cpu/y.h"'),
        ("src/backends/reference/x.cc", "#include <dnnl.hpp>"), ("src/runtime/x.cc", '#include "plan_generated.h"'),
        ("cli/x.cc", '#include "core/op.h"'), ("include/headrace/x.h", '#include "core/op.h"'),
        ("src/pipeline/x.cc", "std::mutex m;"), ("src/tuner/x.cc", "auto t = std::chrono::steady_clock::now();"),
        ("src/pipeline/x.cc", "#include <thread>"), ("src/strange/x.cc", "int x;"),
    ]
    must_pass = [
        ("src/runtime/x.cc", '#include "plan/plan.h"\n#include "base/sched.h"'), ("src/base/sched.cc", "std::mutex m;"),
        ("src/backends/cpu/x.cc", "#include <oneapi/dnnl/dnnl.hpp>\n#include \"backends/backend.h\""),
        ("src/pipeline/x.cc", "// std::mutex\nlog(\"std::thread\");"), ("src/api/x.cc", '#include "compiler/compiler.h"'),
    ]
    return ([f"self-test: not reported: {p}: {t}" for p, t in must_fail if not check(p, t)]
            + [f"self-test: {m}" for p, t in must_pass for m in check(p, t)])


def main() -> int:
    problems = self_test()
    listed = subprocess.run(["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.h", "*.cc", "*.cu", "*.inc"],
                            cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    for path in listed:
        if (ROOT / path).is_file():
            problems += check(path, (ROOT / path).read_text(encoding="utf-8"))
    for problem in problems:
        print(problem)
    print(f"includes: {len(listed)} files, {len(problems)} violations")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
