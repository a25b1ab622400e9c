"""The few operators that calibration needs, in numpy and float64 (NCHW)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

Array = Any


def _pad(x: Array, pad: int, value: float = 0.0) -> Array:
    if pad == 0:
        return x
    return np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)), constant_values=value)


def conv2d(x: Array, w: Array, stride: int, pad: int, depthwise: bool) -> Array:
    kernel = w.shape[2]
    windows = sliding_window_view(_pad(x, pad), (kernel, kernel), axis=(2, 3))[:, :, ::stride, ::stride]
    if depthwise:
        return np.einsum("nchwij,cij->nchw", windows, w[:, 0], optimize=False)
    return np.tensordot(windows, w, axes=((1, 4, 5), (1, 2, 3))).transpose(0, 3, 1, 2)


def conv_transpose2d(x: Array, w: Array, stride: int) -> Array:
    """ConvTranspose whose kernel equals its stride, so that windows do not overlap."""
    n, _, height, width = x.shape
    out = np.tensordot(x, w, axes=((1,), (0,)))  # n h w o i j
    return out.transpose(0, 3, 1, 4, 2, 5).reshape(n, w.shape[1], height * stride, width * stride)


def max_pool2d(x: Array, kernel: int, stride: int, pad: int) -> Array:
    padded = _pad(x, pad, -np.inf)
    windows = sliding_window_view(padded, (kernel, kernel), axis=(2, 3))[:, :, ::stride, ::stride]
    return windows.max(axis=(4, 5))


def sigmoid(x: Array) -> Array:
    return 1.0 / (1.0 + np.exp(-x))


def round_mantissa(x: Array, bits: int = 12) -> Array:
    """Keeps the leading bits only, so that the last digits of a BLAS do not reach the model file."""
    mantissa, exponent = np.frexp(x)
    return np.ldexp(np.round(np.ldexp(mantissa, bits)), exponent - bits)
