"""The demo on pictures of every kind and size, and on files that are none.

    python demo_pictures_test.py --cli build/release/headrace [--models DIR]

Whatever the form (grey, alpha, palette, 16 bits, turned by its Exif block ...), the text must be read; pictures from 1x1
to 4000 pixels a side must end well; what is no picture must end with its own exit code and message.
"""

from __future__ import annotations

import argparse
import json
import struct
import subprocess
import sys
import tempfile
import zlib
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

ROOT = Path(__file__).resolve().parents[2]
TEXT = "HEADRACE 2047"
WHITE = (255, 255, 255)


def written(width: int, height: int, size: int, at: tuple[int, int]) -> Image.Image:
    """TEXT in black on white."""
    picture = Image.new("RGB", (width, height), WHITE)
    ImageDraw.Draw(picture).text(at, TEXT, fill=(0, 0, 0), font=ImageFont.load_default(size))
    return picture


def png(width: int, height: int, bits: int, colour: int, rows: bytes) -> bytes:
    """A PNG file of any kind; `rows` with a filter byte before each."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    parts = chunk(b"IHDR", head), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def png_rgb16(picture: Image.Image) -> bytes:
    values = np.asarray(picture).astype(">u2") * 257
    rows = b"".join(b"\0" + row.tobytes() for row in values)
    return png(picture.width, picture.height, 16, 2, rows)


def transparent(picture: Image.Image) -> Image.Image:
    """Black everywhere; only what is opaque is the text."""
    result = Image.new("RGBA", picture.size, (0, 0, 0, 0))
    result.putalpha(picture.convert("L").point(lambda v: 255 - v))
    return result


class Demo:
    def __init__(self, cli: str, models: str, folder: Path) -> None:
        self.cli, self.models, self.folder = cli, models, folder
        self.problems: list[str] = []
        self.checks = 0

    def run(self, name: str, *more: str) -> tuple[int, str, dict]:
        out = self.folder / "result.json"
        out.unlink(missing_ok=True)
        drawn = ["--output", str(self.folder / "drawn.png")] if "--output" not in more else []
        models = ["--models", self.models] if "--models" not in more else []
        done = subprocess.run([self.cli, "demo", str(self.folder / name), "--json", str(out), *models, *drawn, *more],
                              capture_output=True, text=True, timeout=300)
        result = json.loads(out.read_text(encoding="utf-8")) if out.exists() else {}
        return done.returncode, done.stderr, result

    def that(self, good: bool, message: str) -> None:
        self.checks += 1
        if not good:
            self.problems.append(message)
            print(f"  FAILED {message}", flush=True)

    def reads(self, name: str, size: tuple[int, int] | None, text: str | None = TEXT, *more: str) -> None:
        """The picture shows just `text`; None: whatever it shows, it ends well."""
        code, err, result = self.run(name, *more)
        lines = [line["text"] for line in result.get("lines", [])]
        self.that(code == 0, f"{name}: exit code {code}: {err}")
        if code != 0:
            return
        if text is not None:
            self.that("".join(lines).replace(" ", "") == text.replace(" ", ""), f"{name}: read {lines}, not {text!r}")
        if size is not None:
            self.that((result["width"], result["height"]) == size,
                      f"{name}: {result['width']}x{result['height']}, not {size}")
            with Image.open(self.folder / "drawn.png") as drawn:
                self.that(drawn.size == size and drawn.mode == "RGB", f"{name}: drawn as {drawn.mode} {drawn.size}")
        for line in result["lines"]:
            inside = all(0 <= x <= result["width"] and 0 <= y <= result["height"] for x, y in line["box"])
            self.that(inside, f"{name}: a box outside the picture: {line['box']}")

    def refuses(self, name: str, code: int, message: str, *more: str) -> None:
        got, err, result = self.run(name, *more)
        self.that(got == code, f"{name} {more}: exit code {got}, not {code}: {err}")
        self.that(message in err and "internal error" not in err, f"{name} {more}: {err!r} does not say {message!r}")
        self.that(err.count("headrace: error") == 1, f"{name} {more}: not one error: {err!r}")
        self.that(not result, f"{name} {more}: a result in spite of the error")


def kinds(demo: Demo) -> None:
    base = written(480, 140, 48, (40, 40))
    forms = {
        "rgb.png": base, "grey.png": base.convert("L"), "grey_alpha.png": base.convert("LA"),
        "rgba.png": base.convert("RGBA"), "transparent.png": transparent(base),
        "transparent_grey.png": transparent(base).convert("LA"), "palette.png": base.quantize(16),
        "bilevel.png": base.convert("1"), "colour.jpg": base, "grey.jpg": base.convert("L"),
        "cmyk.jpg": base.convert("CMYK"), "upper.JPEG": base, "form.bmp": base, "form.ppm": base,
    }  # fmt: skip
    for name, picture in forms.items():
        picture.save(demo.folder / name, **({"quality": 92} if name.lower().endswith(("jpg", "jpeg")) else {}))
        demo.reads(name, base.size)
    grey = np.asarray(base.convert("L")).astype(np.uint16) * 257
    Image.fromarray(grey).save(demo.folder / "grey16.png")
    (demo.folder / "rgb16.png").write_bytes(png_rgb16(base))
    base.save(demo.folder / "progressive.jpg", progressive=True)
    indexed = base.quantize(16)
    indexed.save(demo.folder / "palette_alpha.png", transparency=indexed.getpixel((0, 0)))
    (demo.folder / "called.txt").write_bytes((demo.folder / "rgb.png").read_bytes())  # the bytes decide, not the name
    for name in ("grey16.png", "rgb16.png", "progressive.jpg", "palette_alpha.png", "called.txt"):
        demo.reads(name, base.size)


def exif(demo: Demo) -> None:
    """A camera writes the picture as its sensor lies, and how to turn it; what turns it back is tested."""
    base = written(480, 140, 48, (40, 40))
    back = {2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM", 5: "TRANSPOSE", 6: "ROTATE_90",
            7: "TRANSVERSE", 8: "ROTATE_270"}  # fmt: skip
    for orientation in range(1, 10):  # 9: no such orientation, shown as it is
        stored = base.transpose(Image.Transpose[back[orientation]]) if orientation in back else base
        tags = Image.Exif()
        tags[0x010F], tags[0x0112] = "a camera", orientation
        for order, endian in (("II", "<"), ("MM", ">")):
            tags.endian = endian
            name = f"exif{orientation}{order}.jpg"
            stored.save(demo.folder / name, quality=92, exif=tags)
            if order == "II" or orientation in (1, 6):
                demo.reads(name, base.size)
    # An Exif block that lies about its lengths is as good as none.
    good = (demo.folder / "exif6II.jpg").read_bytes()
    at = good.index(b"Exif\0\0") + 6
    for i, (offset, value) in enumerate([(4, b"\xff\xff\xff\xff"), (8, b"\xff\xff"), (0, b"XX"), (4, b"\0\0\0\0")]):
        bad = bytearray(good)
        bad[at + offset : at + offset + len(value)] = value
        (demo.folder / f"lies{i}.jpg").write_bytes(bad)
        demo.reads(f"lies{i}.jpg", None, None)


def sizes(demo: Demo) -> None:
    for width, height in [(1, 1), (20, 20), (1, 4000), (4000, 1), (20, 4000), (4000, 20), (33, 31), (640, 480)]:
        name = f"white{width}x{height}.png"
        Image.new("RGB", (width, height), WHITE).save(demo.folder / name)
        demo.reads(name, (width, height), "")
    noise = np.random.default_rng(5).integers(0, 256, (4000, 20, 3), dtype=np.uint8)
    for name, part in {"noise20x20.png": noise[:20], "noise20x4000.png": noise,
                       "noise4000x20.png": noise.transpose(1, 0, 2)}.items():  # fmt: skip
        Image.fromarray(np.ascontiguousarray(part)).save(demo.folder / name)
        demo.reads(name, part.shape[1::-1], None)
    written(4000, 3000, 320, (600, 1200)).save(demo.folder / "large.jpg", quality=90)
    demo.reads("large.jpg", (4000, 3000))
    written(4000, 4000, 400, (300, 300)).convert("L").save(demo.folder / "square.png")
    demo.reads("square.png", (4000, 4000))
    written(4000, 60, 40, (1500, 8)).save(demo.folder / "strip.png")
    demo.reads("strip.png", (4000, 60))
    written(150, 24, 18, (6, 1)).save(demo.folder / "tiny.png")
    demo.reads("tiny.png", (150, 24))
    written(4000, 60, 40, (1500, 8)).transpose(Image.Transpose.ROTATE_270).save(demo.folder / "column.png")
    demo.reads("column.png", (60, 4000), None)  # runs downwards; which way up is a matter of luck
    demo.reads("tiny.png", (150, 24), TEXT, "--threads", "1", "--repeat", "2")


def refusals(demo: Demo) -> None:
    whole = demo.folder / "rgb.png"
    data, jpeg = whole.read_bytes(), (demo.folder / "colour.jpg").read_bytes()
    write = lambda name, content: (demo.folder / name).write_bytes(content)  # noqa: E731
    for part in (9, 30, len(data) // 2, len(data) - 20):
        write("cut.png", data[:part])
        demo.refuses("cut.png", 3, "is a PNG file that is cut off in its header" if part < 20 else "is damaged")
    for part in (3, 300, len(jpeg) // 2, len(jpeg) - 2):
        write("cut.jpg", jpeg[:part])
        demo.refuses("cut.jpg", 3, "is a JPEG file that is cut off" if part >= 300 else "is not a picture")
    write("text.png", b"Dear reader, this is a letter and no picture.\n")
    demo.refuses("text.png", 3, "is not a picture that can be read (PNG, JPEG, BMP, PNM)")
    write("empty.png", b"")
    demo.refuses("empty.png", 3, "is empty")
    Image.new("RGB", (8, 8)).save(demo.folder / "other.gif")
    demo.refuses("other.gif", 3, "is not a picture that can be read (PNG, JPEG, BMP, PNM)")
    write("giant.png", png(12_000, 10_000, 8, 2, b""))
    demo.refuses("giant.png", 3, "has 12000x10000 pixels, more than 100 million")
    write("monster.png", png(2_000_000, 2_000_000, 8, 2, b""))
    demo.refuses("monster.png", 3, "is a PNG file that is cut off in its header, damaged there, or has more than 100")
    write("nopixels.png", png(64, 64, 8, 2, b""))
    demo.refuses("nopixels.png", 3, "is damaged or of an unknown kind")
    demo.refuses("missing.png", 7, "could not open the picture")
    (demo.folder / "folder.png").mkdir()
    demo.refuses("folder.png", 7, "is a folder, not a picture")
    demo.refuses("rgb.png", 7, "could not write", "--output", str(demo.folder / "no" / "such" / "folder.png"))
    demo.refuses("rgb.png", 7, "could not make the folder", "--dump", str(whole / "below"))
    (demo.folder / "nets").mkdir()
    demo.refuses("rgb.png", 7, "networks", "--models", str(demo.folder / "nets"))
    for part in ("det", "cls", "rec"):
        write(f"nets/my_{part}_net.onnx", b"no network")
    demo.refuses("rgb.png", 4, "not a valid ONNX file", "--models", str(demo.folder / "nets"))


def several(demo: Demo) -> None:
    """One that cannot be read is no reason not to read the others."""
    good, bad = str(demo.folder / "rgb.png"), str(demo.folder / "missing.png")
    for number in (1, 3):
        (demo.folder / f"drawn-{number}.png").unlink(missing_ok=True)
    code, err, result = demo.run("rgb.png", bad, good)
    demo.that(code == 7 and err.count("could not open the picture") == 1, f"one of three is missing: exit code {code}: {err}")
    demo.that(not result, "a result in spite of the error")
    demo.that(all((demo.folder / f"drawn-{n}.png").exists() for n in (1, 3)), "the others were not drawn")
    for flags in (("--repeat", "2"), ("--dump", str(demo.folder / "dump"))):
        code, err, _ = demo.run("rgb.png", good, *flags)
        demo.that(code == 2 and "for one picture" in err, f"{flags} with two pictures: exit code {code}: {err}")


def main() -> int:
    parser = argparse.ArgumentParser(description="The demo on pictures of every kind and size.")
    parser.add_argument("--cli", required=True)
    parser.add_argument("--models", default=str(ROOT / ".deps/ocr"))
    args = parser.parse_args()
    if not list(Path(args.models).glob("*.onnx")):
        sys.exit(f"FAILED: no networks in {args.models}; `./dev test` fetches them")
    with tempfile.TemporaryDirectory(prefix="headrace-demo-") as folder:
        demo = Demo(args.cli, args.models, Path(folder))
        for group in (kinds, exif, sizes, refusals, several):
            group(demo)
    print(f"{'FAILED' if demo.problems else 'passed'}: {demo.checks} checks, {len(demo.problems)} problems")
    return 1 if demo.problems else 0


if __name__ == "__main__":
    sys.exit(main())
