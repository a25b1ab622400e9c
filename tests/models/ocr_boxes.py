"""Text boxes of a detection map and text of recognition outputs, in plain numpy: the oracle of ocr_ort_test.py.

    boxes = boxes_of_map(map, width, height)      # corners in pixels of the fitted picture, in any order
    text, confidence = decode(probabilities, characters)

Written from the description of the method (differentiable binarisation; CTC), not from the C++ code: regions by
flooding, rectangles by trying every hull edge, the enlarged outline as a polygon with round corners.
"""

from __future__ import annotations

import math

import numpy as np
from PIL import Image, ImageDraw

TEXT_THRESHOLD, BOX_THRESHOLD, UNCLIP, SMALLEST_SIDE = 0.3, 0.5, 1.6, 3


def _regions(mask: np.ndarray) -> list[np.ndarray]:
    """Pixels (x, y) of each 8-connected region."""
    left = np.argwhere(mask)
    todo = set(map(tuple, left.tolist()))
    regions = []
    while todo:
        stack = [todo.pop()]
        region = []
        while stack:
            y, x = stack.pop()
            region.append((x, y))
            for dy in (-1, 0, 1):
                for dx in (-1, 0, 1):
                    if (y + dy, x + dx) in todo:
                        todo.remove((y + dy, x + dx))
                        stack.append((y + dy, x + dx))
        regions.append(np.array(region, dtype=np.float64))
    return regions


def _hull(points: np.ndarray) -> np.ndarray:
    """Gift wrapping would do; this is two monotone chains."""
    points = np.unique(points, axis=0)
    if len(points) < 3:
        return points
    chains = []
    for order in (points, points[::-1]):
        chain: list[np.ndarray] = []
        for p in order:
            while len(chain) > 1:
                a, b = chain[-1] - chain[-2], p - chain[-2]
                if a[0] * b[1] - a[1] * b[0] > 0:
                    break
                chain.pop()
            chain.append(p)
        chains += chain[:-1]
    return np.array(chains)


def _smallest_rectangle(points: np.ndarray) -> tuple[np.ndarray, float]:
    """Corners in turn and the shorter side of the rectangle of least area around the points."""
    hull = _hull(points)
    edges = np.roll(hull, -1, axis=0) - hull
    best = (math.inf, np.zeros((4, 2)), 0.0)
    for angle in np.arctan2(edges[:, 1], edges[:, 0]):
        turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
        turned = hull @ turn.T
        (u0, v0), (u1, v1) = turned.min(axis=0), turned.max(axis=0)
        if (u1 - u0) * (v1 - v0) < best[0]:
            corners = np.array([[u0, v0], [u1, v0], [u1, v1], [u0, v1]]) @ turn
            best = ((u1 - u0) * (v1 - v0), corners, min(u1 - u0, v1 - v0))
    return best[1], best[2]


def _enlarged(corners: np.ndarray, by: float) -> np.ndarray:
    """The outline `by` away from the polygon: round corners as many-sided ones."""
    angles = np.linspace(0, 2 * math.pi, 720, endpoint=False)
    circle = by * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return (corners[:, None, :] + circle[None]).reshape(-1, 2)


def _mean_inside(values: np.ndarray, corners: np.ndarray) -> float:
    mask = Image.new("1", (values.shape[1], values.shape[0]))
    ImageDraw.Draw(mask).polygon([tuple(p) for p in corners.tolist()], outline=1, fill=1)
    return float(values[np.asarray(mask)].mean())


def boxes_of_map(values: np.ndarray, width: int, height: int) -> list[np.ndarray]:
    text = values > TEXT_THRESHOLD
    text[1:] |= text[:-1].copy()  # dilated by one to the right and down
    text[:, 1:] |= text[:, :-1].copy()
    scale = np.array([width / values.shape[1], height / values.shape[0]])
    boxes = []
    for region in _regions(text):
        core, side = _smallest_rectangle(region)
        if side < SMALLEST_SIDE or _mean_inside(values, core) < BOX_THRESHOLD:
            continue
        sides = np.linalg.norm(np.roll(core, -1, axis=0) - core, axis=1)
        grow = sides[0] * sides[1] * UNCLIP / sides.sum()
        box, side = _smallest_rectangle(_enlarged(np.trunc(core), grow))
        if side < SMALLEST_SIDE + 2:
            continue
        box = np.clip(np.rint(box * scale), 0, [width - 1, height - 1])
        if min(np.linalg.norm(box[1] - box[0]), np.linalg.norm(box[2] - box[1])) >= 4:
            boxes.append(box)
    return boxes


def corner_distance(a: np.ndarray, b: np.ndarray) -> float:
    """How far the farthest corner of one box is from its corner of the other, whatever they start with."""
    turns = [np.roll(order, k, axis=0) for order in (b, b[::-1]) for k in range(4)]
    return min(float(np.abs(a - turned).max()) for turned in turns)


def decode(probabilities: np.ndarray, characters: list[str]) -> tuple[str, float]:
    """CTC of columns x classes: class 0 is the blank; repeats count once."""
    best = probabilities.argmax(axis=1)
    keep = [i for i in range(len(best)) if best[i] != 0 and (i == 0 or best[i] != best[i - 1])]
    text = "".join(characters[best[i]] for i in keep)
    return text, float(np.mean([probabilities[i, best[i]] for i in keep])) if keep else 0.0
