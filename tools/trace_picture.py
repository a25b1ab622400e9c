"""Draws a trace (`headrace bench --trace t.json`) as an SVG picture: one row per stream and host thread.

    python tools/trace_picture.py t.json -o t.svg [--from-ms 10] [--to-ms 14]

Spans are coloured by what they keep busy, and numbered with their inference where it is known. Without a window, the
middle tenth of the trace is drawn.
"""

from __future__ import annotations

import argparse
import json
from html import escape
from pathlib import Path

COLOURS = {"upload": "#4c8dd6", "compute": "#5fa55a", "download": "#e08e45", "copy": "#9b7fc4", "host": "#b8b8b8"}
WIDTH, LEFT, ROW, TOP = 1200, 180, 34, 40


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trace", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--from-ms", type=float)
    parser.add_argument("--to-ms", type=float)
    args = parser.parse_args()
    events = json.loads(args.trace.read_text())["traceEvents"]
    spans = [e for e in events if e["ph"] == "X"]
    if not spans:
        parser.error(f"{args.trace} has no spans")
    last = max(e["ts"] + e["dur"] for e in spans) / 1000
    begin = args.from_ms if args.from_ms is not None else 0.45 * last
    end = args.to_ms if args.to_ms is not None else begin + 0.1 * last
    if not begin < end:
        parser.error(f"the window from {begin} to {end} ms is empty")
    shown = [e for e in spans if e["ts"] / 1000 < end and (e["ts"] + e["dur"]) / 1000 > begin]
    names = {(e["pid"], e["tid"]): e["args"]["name"] for e in events if e["name"] == "thread_name"}
    rows = {track: i for i, track in enumerate(sorted({(e["pid"], e["tid"]) for e in shown}))}
    height = TOP + ROW * len(rows) + 40

    def x(ms: float) -> float:
        return LEFT + (min(max(ms, begin), end) - begin) / (end - begin) * (WIDTH - LEFT - 20)

    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" font-family="sans-serif" font-size="12">',
           f'<rect width="{WIDTH}" height="{height}" fill="white"/>']  # fmt: skip
    for i, (name, colour) in enumerate(COLOURS.items()):
        out.append(f'<rect x="{LEFT + 110 * i}" y="10" width="14" height="14" fill="{colour}"/>'
                   f'<text x="{LEFT + 110 * i + 20}" y="22">{name}</text>')  # fmt: skip
    for track, row in rows.items():
        y = TOP + ROW * row
        out.append(f'<text x="8" y="{y + 19}">{escape(names.get(track, ""))}</text>'
                   f'<line x1="{LEFT}" x2="{WIDTH - 20}" y1="{y + ROW - 3}" y2="{y + ROW - 3}" stroke="#ddd"/>')  # fmt: skip
    for e in sorted(shown, key=lambda e: -e["dur"]):
        y = TOP + ROW * rows[(e["pid"], e["tid"])]
        x0, x1 = x(e["ts"] / 1000), x((e["ts"] + e["dur"]) / 1000)
        number = e["args"].get("inference")
        label = f'{e["name"]} {number}' if number else e["name"]
        out.append(f'<rect x="{x0:.1f}" y="{y}" width="{max(x1 - x0, 0.7):.1f}" height="{ROW - 8}" stroke="white"'
                   f' stroke-width="0.5" fill="{COLOURS.get(e["cat"], "#888")}"><title>{escape(label)}: {e["dur"]:.1f} us</title></rect>')  # fmt: skip
        if x1 - x0 > 7 * len(label):
            out.append(f'<text x="{x0 + 3:.1f}" y="{y + 17}" fill="white">{escape(label)}</text>')
        elif number and x1 - x0 > 7 * len(str(number)):
            out.append(f'<text x="{x0 + 1:.1f}" y="{y + 17}" fill="white">{number}</text>')
    for i in range(6):
        ms = begin + (end - begin) * i / 5
        out.append(f'<text x="{x(ms):.1f}" y="{height - 12}" text-anchor="{"start" if i == 0 else "end" if i == 5 else "middle"}">'
                   f'{ms - begin:.2f} ms</text>')  # fmt: skip
    out.append("</svg>")
    args.output.write_text("\n".join(out) + "\n")
    print(f"{args.output}: {len(shown)} of {len(spans)} spans, {end - begin:.2f} ms")


if __name__ == "__main__":
    main()
