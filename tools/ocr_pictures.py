"""Renders the pictures of examples/ocr/data: known text, several sizes and angles, lifelike backgrounds.

    python tools/ocr_pictures.py --out examples/ocr/data

Needs Pillow, numpy and the DejaVu fonts (Debian: fonts-dejavu-core). Beside NAME.jpg it writes NAME.txt:
a line for each text, `x0,y0,x1,y1,x2,y2,x3,y3<TAB>text`, corners clockwise from its (rotated) top left.
"""

from __future__ import annotations

import argparse
import math
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

FONT_FOLDERS = ("/usr/share/fonts/truetype/dejavu", "/usr/share/fonts/dejavu", "/usr/share/fonts/TTF")
JPEG_QUALITY = 88
Colour = tuple[int, int, int]
INK: Colour = (28, 30, 36)
PAPER: Colour = (246, 244, 238)


@dataclass(frozen=True)
class Line:
    text: str
    x: int  # of the text's top left corner before rotation about its centre
    y: int
    size: int
    angle: float = 0.0  # degrees, counter-clockwise
    colour: Colour = INK
    font: str = "DejaVuSans"
    plate: Colour | None = None  # a filled plate behind the text


@dataclass(frozen=True)
class Picture:
    name: str
    width: int
    height: int
    seed: int
    top: Colour
    bottom: Colour
    shapes: int
    grain: float
    lines: tuple[Line, ...]


PICTURES = (
    Picture(
        "street",
        1280,
        860,
        1,
        (126, 160, 196),
        (104, 112, 96),
        14,
        5.0,
        (
            Line("HARBOUR STREET", 90, 80, 76, 2.5, PAPER, "DejaVuSans-Bold", (22, 74, 138)),
            Line("Museum of Rivers 350 m", 720, 200, 38, -3.0, PAPER, "DejaVuSans", (96, 60, 36)),
            Line("Open daily 09:30 - 17:45", 150, 300, 34, 4.0, INK, "DejaVuSans", (240, 214, 96)),
            Line("Tickets 12.50 EUR", 760, 390, 42, -6.0, INK, "DejaVuSerif", PAPER),
            Line("NO PARKING", 120, 500, 64, -4.0, (190, 24, 30), "DejaVuSans-Bold", PAPER),
            Line(
                "Platform 4 departs 18:06", 620, 560, 44, 0.0, (250, 206, 60), "DejaVuSansMono", (20, 22, 24)
            ),
            Line("Please keep the bridge clear", 160, 690, 30, 1.5, PAPER, "DejaVuSans", (40, 70, 52)),
            Line("Phone 555 0147 / Fax 555 0182", 660, 740, 28, 3.0, INK, "DejaVuSans", PAPER),
        ),
    ),
    Picture(
        "receipt",
        640,
        920,
        2,
        (238, 234, 224),
        (214, 208, 196),
        4,
        3.0,
        (
            Line("CORNER BAKERY", 130, 50, 44, 0.0, INK, "DejaVuSans-Bold"),
            Line("Invoice 2024-10387", 150, 130, 28),
            Line("Rye bread", 60, 220, 26, font="DejaVuSansMono"),
            Line("4.20", 500, 220, 26, font="DejaVuSansMono"),
            Line("Apple cake", 60, 280, 26, font="DejaVuSansMono"),
            Line("13.75", 484, 280, 26, font="DejaVuSansMono"),
            Line("Coffee beans", 60, 340, 26, font="DejaVuSansMono"),
            Line("18.90", 484, 340, 26, font="DejaVuSansMono"),
            Line("Orange juice", 60, 400, 26, font="DejaVuSansMono"),
            Line("6.35", 500, 400, 26, font="DejaVuSansMono"),
            Line("TOTAL", 60, 500, 40, font="DejaVuSans-Bold"),
            Line("43.20", 450, 500, 40, font="DejaVuSans-Bold"),
            Line("Paid by card ending 7731", 60, 610, 24),
            Line("Table 12 served by Martha", 60, 670, 24, 1.0),
            Line("Thank you and see you again", 90, 780, 28, -2.0, (60, 60, 120), "DejaVuSerif"),
        ),
    ),
    Picture(
        "labels",
        900,
        600,
        3,
        (92, 84, 100),
        (44, 58, 70),
        18,
        6.0,
        (
            Line("FRAGILE", 60, 60, 72, 8.0, PAPER, "DejaVuSans-Bold", (176, 40, 36)),
            Line("Lot 48213", 560, 70, 40, -7.0, INK, "DejaVuSans", PAPER),
            Line("Keep between 2 and 8 degrees", 80, 240, 32, -3.0, INK, "DejaVuSans", (190, 222, 236)),
            Line("Weight 27 kg", 560, 320, 44, 5.0, PAPER, "DejaVuSans", (48, 96, 60)),
            Line("Serial 9907-6615-204", 90, 400, 36, 6.0, INK, "DejaVuSansMono", (236, 214, 150)),
            Line("Handle with care", 420, 500, 34, -2.0, (255, 236, 120), "DejaVuSerif", (30, 30, 40)),
        ),
    ),
    Picture(
        "banner",
        1500,
        170,
        4,
        (36, 66, 92),
        (58, 104, 120),
        6,
        4.0,
        (Line("Water finds its way: turbine hall tour at 14:20", 60, 50, 52, 0.0, PAPER, "DejaVuSans-Bold"),),
    ),
    Picture(
        "notes",
        1000,
        720,
        5,
        (208, 220, 206),
        (178, 190, 204),
        8,
        4.0,
        (
            Line("Experiment 16 results", 90, 50, 48, 0.0, (30, 60, 110), "DejaVuSerif"),
            Line("The first run took 84 seconds at full load", 90, 150, 30),
            Line("Pressure rose from 1013 to 1187 hPa", 90, 215, 30),
            Line("The valve closed after 3 minutes", 90, 280, 30, 1.0),
            Line("Average flow was 62.4 litres per hour", 90, 345, 30),
            Line("Repeat on Monday with the new sensor", 90, 430, 26, -1.5, (140, 40, 40)),
            Line("Signed: R. Keller", 560, 520, 34, 3.0, (30, 40, 120), "DejaVuSerif"),
            Line("Page 27 of 58", 420, 640, 22),
        ),
    ),
)


def font_file(name: str) -> Path:
    for folder in FONT_FOLDERS:
        if (path := Path(folder, f"{name}.ttf")).exists():
            return path
    raise SystemExit(f"font {name}.ttf not found in {', '.join(FONT_FOLDERS)}; install fonts-dejavu-core")


def smooth_noise(rng: np.random.Generator, width: int, height: int, cell: int) -> np.ndarray:
    """Values around 0 that change over about `cell` pixels."""
    coarse = rng.standard_normal((height // cell + 2, width // cell + 2)).astype(np.float32)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def background(picture: Picture, rng: np.random.Generator) -> Image.Image:
    width, height = picture.width, picture.height
    ramp = np.linspace(0.0, 1.0, height)[:, None, None]
    pixels = np.array(picture.top) * (1 - ramp) + np.array(picture.bottom) * ramp
    pixels = np.repeat(pixels, width, axis=1)
    image = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(image, "RGBA")
    for _ in range(picture.shapes):
        x, y = rng.integers(-100, width), rng.integers(-100, height)
        w, h = rng.integers(80, 380, 2)
        fill = (*(int(c) for c in rng.integers(40, 220, 3)), int(rng.integers(14, 40)))
        draw_shape = draw.ellipse if rng.random() < 0.5 else draw.rectangle
        draw_shape((int(x), int(y), int(x + w), int(y + h)), fill=fill)
    image = image.filter(ImageFilter.GaussianBlur(6))
    light = sum(a * smooth_noise(rng, width, height, c) for a, c in ((9.0, 160), (5.0, 48)))
    grain = rng.standard_normal((height, width, 1)) * picture.grain
    lit = np.asarray(image, dtype=np.float64) + np.asarray(light)[..., None] + grain
    return Image.fromarray(np.clip(lit, 0, 255).astype(np.uint8))


def draw_line(image: Image.Image, line: Line) -> list[tuple[int, int]]:
    """Draws one line; returns the corners of its text."""
    font = ImageFont.truetype(str(font_file(line.font)), line.size)
    left, top, right, bottom = font.getbbox(line.text)
    width, height = int(right - left), int(bottom - top)
    margin = line.size // 2
    centre = (line.x + width / 2, line.y + height / 2)
    side = 2 * margin + int(math.hypot(width, height))
    tile = Image.new("RGBA", (side, side), (*(line.plate or line.colour), 0))
    draw = ImageDraw.Draw(tile)
    x0, y0 = (side - width) // 2, (side - height) // 2
    if line.plate is not None:
        draw.rounded_rectangle(
            (x0 - margin, y0 - margin, x0 + width + margin, y0 + height + margin),
            line.size // 6,
            fill=(*line.plate, 255),
        )
    draw.text((x0 - left, y0 - top), line.text, font=font, fill=(*line.colour, 255))
    tile = tile.rotate(line.angle, Image.Resampling.BICUBIC)
    image.paste(tile, (round(centre[0] - side / 2), round(centre[1] - side / 2)), tile)
    cos, sin = math.cos(math.radians(line.angle)), math.sin(math.radians(line.angle))
    corners = (
        (-width / 2, -height / 2),
        (width / 2, -height / 2),
        (width / 2, height / 2),
        (-width / 2, height / 2),
    )
    return [(round(centre[0] + x * cos + y * sin), round(centre[1] - x * sin + y * cos)) for x, y in corners]


def render(picture: Picture, folder: Path) -> None:
    rng = np.random.default_rng(picture.seed)
    image = background(picture, rng)
    rows = []
    for line in picture.lines:
        corners = draw_line(image, line)
        if any(not (0 <= x < picture.width and 0 <= y < picture.height) for x, y in corners):
            raise SystemExit(f"{picture.name}: `{line.text}` leaves the picture: {corners}")
        rows.append(",".join(f"{x},{y}" for x, y in corners) + f"\t{line.text}\n")
    image = image.filter(ImageFilter.GaussianBlur(0.5))
    image.save(folder / f"{picture.name}.jpg", quality=JPEG_QUALITY, optimize=True)
    (folder / f"{picture.name}.txt").write_text("".join(rows))


def main() -> int:
    parser = argparse.ArgumentParser(description="Renders the pictures of the OCR example.")
    parser.add_argument("--out", type=Path, required=True, help="folder for NAME.jpg and NAME.txt")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    for picture in PICTURES:
        render(picture, args.out)
        size = (args.out / f"{picture.name}.jpg").stat().st_size
        extent = f"{picture.width}x{picture.height}"
        print(f"{picture.name}.jpg: {extent}, {len(picture.lines)} lines, {size // 1024} KiB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
