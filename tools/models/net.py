"""Builds an ONNX graph node by node while a small sample runs through it.

Problem: seeded random weights alone let activations grow or die with depth, which makes comparisons between
engines meaningless. So each call adds a node *and* computes it on a small calibration sample;
BatchNormalization takes its running mean and variance from what really arrives, as a trained network would.

Use:
    net = Net("tiny", seed=1)
    x = net.input("input", ("N", 3, 224, 224), sample_hw=(64, 64))
    x = net.relu(net.batch_norm(net.conv(x, 16, 3, stride=2)))
    net.output("output", x, ("N", 16, 112, 112))
    model = net.model()
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numeric
import numpy as np

from onnx import (
    ModelProto,
    NodeProto,
    TensorProto,
    ValueInfoProto,
    checker,
    helper,
    numpy_helper,
)

OPSET = 17
IR_VERSION = 8
CALIBRATION_BATCH = 4
Dim = int | str


@dataclass(frozen=True)
class Tensor:
    """A value of the graph and what the calibration sample made of it."""

    name: str
    sample: np.ndarray

    @property
    def channels(self) -> int:
        return int(self.sample.shape[1])


class Net:
    def __init__(self, name: str, seed: int) -> None:
        self._name = name
        self._rng = np.random.Generator(np.random.PCG64(seed))
        self._nodes: list[NodeProto] = []
        self._weights: list[TensorProto] = []
        self._inputs: list[ValueInfoProto] = []
        self._outputs: list[ValueInfoProto] = []
        self._counts: dict[str, int] = {}
        self.parameters = 0

    # Ends of the graph -------------------------------------------------------------------------------------
    def input(self, name: str, shape: Sequence[Dim], sample_hw: tuple[int, int]) -> Tensor:
        self._inputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape)))
        height, width = sample_hw
        channels = int(shape[1])
        noise = self._rng.standard_normal((CALIBRATION_BATCH, channels, height, width))
        coarse = self._rng.standard_normal((CALIBRATION_BATCH, channels, height // 8, width // 8))
        smooth = coarse.repeat(8, axis=2).repeat(8, axis=3)
        contrast = np.linspace(0.3, 1.0, CALIBRATION_BATCH)[:, None, None, None]
        brightness = np.linspace(0.8, -0.4, CALIBRATION_BATCH)[:, None, None, None]
        return Tensor(name, contrast * (0.8 * noise + 0.6 * smooth) + brightness)

    def output(self, name: str, x: Tensor, shape: Sequence[Dim]) -> None:
        for node in self._nodes:
            for i, produced in enumerate(node.output):
                if produced == x.name:
                    node.output[i] = name
            for i, used in enumerate(node.input):
                if used == x.name:
                    node.input[i] = name
        self._outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape)))

    def model(self) -> ModelProto:
        graph = helper.make_graph(self._nodes, self._name, self._inputs, self._outputs, self._weights)
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION
        )
        model.producer_name = "headrace-models"
        checker.check_model(model, full_check=True)
        return model

    # Pieces ------------------------------------------------------------------------------------------------
    def _name_for(self, kind: str) -> str:
        index = self._counts.get(kind, 0)
        self._counts[kind] = index + 1
        return f"{kind.lower()}_{index}"

    def _weight(self, owner: str, role: str, values: np.ndarray) -> tuple[str, np.ndarray]:
        stored = values.astype(np.float32)
        name = f"{owner}.{role}"
        self._weights.append(numpy_helper.from_array(stored, name))
        self.parameters += stored.size
        return name, stored.astype(np.float64)

    def _add(
        self, op: str, inputs: Sequence[str], sample: np.ndarray, name: str = "", **attributes: Any
    ) -> Tensor:
        name = name or self._name_for(op)
        out = f"{name}_out"
        self._nodes.append(helper.make_node(op, list(inputs), [out], name=name, **attributes))
        return Tensor(out, sample)

    def _constant(self, values: np.ndarray) -> str:
        name = self._name_for("Constant")
        value = numpy_helper.from_array(values, name)
        self._nodes.append(helper.make_node("Constant", [], [f"{name}_out"], name=name, value=value))
        return f"{name}_out"

    # Layers with weights -----------------------------------------------------------------------------------
    def conv(
        self,
        x: Tensor,
        filters: int,
        kernel: int,
        stride: int = 1,
        pad: int | None = None,
        depthwise: bool = False,
        bias: bool = False,
        gain: float = 2.0,
    ) -> Tensor:
        """He-initialised; `pad` defaults to what keeps the size at stride 1."""
        name = self._name_for("Conv")
        pad = (kernel - 1) // 2 if pad is None else pad
        shape = (filters, 1 if depthwise else x.channels, kernel, kernel)
        scale = np.sqrt(gain / (shape[1] * kernel * kernel))
        w_name, w = self._weight(name, "weight", self._rng.standard_normal(shape) * scale)
        inputs = [x.name, w_name]
        sample = numeric.conv2d(x.sample, w, stride, pad, depthwise)
        if bias:
            b_name, b = self._weight(name, "bias", self._rng.standard_normal(filters) * 0.1)
            inputs.append(b_name)
            sample = sample + b[:, None, None]
        return self._add(
            "Conv",
            inputs,
            sample,
            name,
            kernel_shape=[kernel] * 2,
            strides=[stride] * 2,
            pads=[pad] * 4,
            dilations=[1, 1],
            group=x.channels if depthwise else 1,
        )

    def conv_transpose(self, x: Tensor, filters: int, stride: int) -> Tensor:
        """Upsamples by `stride` with a kernel of the same size."""
        name = self._name_for("ConvTranspose")
        shape = (x.channels, filters, stride, stride)
        w_name, w = self._weight(name, "weight", self._rng.standard_normal(shape) * np.sqrt(2.0 / x.channels))
        sample = numeric.conv_transpose2d(x.sample, w, stride)
        return self._add(
            "ConvTranspose",
            [x.name, w_name],
            sample,
            name,
            kernel_shape=[stride] * 2,
            strides=[stride] * 2,
            pads=[0] * 4,
            dilations=[1, 1],
            group=1,
        )

    def batch_norm(self, x: Tensor, gamma: float = 1.0, epsilon: float = 1e-5) -> Tensor:
        """Running statistics are the sample's; scale and shift scatter around `gamma` and 0."""
        name = self._name_for("BatchNormalization")
        count = x.channels
        mean = numeric.round_mantissa(x.sample.mean(axis=(0, 2, 3)))
        var = x.sample.var(axis=(0, 2, 3))
        var = numeric.round_mantissa(var + 0.1 * var.mean() + 1e-3)  # no channel is amplified without bound
        scale_name, scale = self._weight(name, "weight", gamma * self._rng.uniform(0.7, 1.3, count))
        shift_name, shift = self._weight(name, "bias", self._rng.standard_normal(count) * 0.2)
        mean_name, mean = self._weight(name, "running_mean", mean)
        var_name, var = self._weight(name, "running_var", var)
        self.parameters -= 2 * count  # statistics are no parameters
        factor = scale / np.sqrt(var + epsilon)
        sample = x.sample * factor[:, None, None] + (shift - mean * factor)[:, None, None]
        return self._add(
            "BatchNormalization",
            [x.name, scale_name, shift_name, mean_name, var_name],
            sample,
            name,
            epsilon=epsilon,
            momentum=0.9,
        )

    def gemm(self, x: Tensor, units: int) -> Tensor:
        name = self._name_for("Gemm")
        w = self._rng.standard_normal((units, x.channels)) / np.sqrt(x.channels)
        w_name, w = self._weight(name, "weight", w)
        b_name, b = self._weight(name, "bias", self._rng.standard_normal(units) * 0.1)
        return self._add(
            "Gemm", [x.name, w_name, b_name], x.sample @ w.T + b, name, alpha=1.0, beta=1.0, transB=1
        )

    # Layers without ----------------------------------------------------------------------------------------
    def relu(self, x: Tensor) -> Tensor:
        return self._add("Relu", [x.name], np.maximum(x.sample, 0.0))

    def relu6(self, x: Tensor) -> Tensor:
        low, high = self._constant(np.array(0, np.float32)), self._constant(np.array(6, np.float32))
        return self._add("Clip", [x.name, low, high], np.clip(x.sample, 0.0, 6.0))

    def sigmoid(self, x: Tensor) -> Tensor:
        return self._add("Sigmoid", [x.name], numeric.sigmoid(x.sample))

    def silu(self, x: Tensor) -> Tensor:
        gate = self.sigmoid(x)
        return self._add("Mul", [x.name, gate.name], x.sample * gate.sample)

    def add(self, a: Tensor, b: Tensor) -> Tensor:
        return self._add("Add", [a.name, b.name], a.sample + b.sample)

    def concat(self, parts: Sequence[Tensor], axis: int = 1) -> Tensor:
        sample = np.concatenate([p.sample for p in parts], axis=axis)
        return self._add("Concat", [p.name for p in parts], sample, axis=axis)

    def max_pool(self, x: Tensor, kernel: int, stride: int, pad: int) -> Tensor:
        sample = numeric.max_pool2d(x.sample, kernel, stride, pad)
        return self._add(
            "MaxPool",
            [x.name],
            sample,
            kernel_shape=[kernel] * 2,
            strides=[stride] * 2,
            pads=[pad] * 4,
            ceil_mode=0,
        )

    def global_average(self, x: Tensor) -> Tensor:
        return self._add("GlobalAveragePool", [x.name], x.sample.mean(axis=(2, 3), keepdims=True))

    def flatten(self, x: Tensor) -> Tensor:
        return self._add("Flatten", [x.name], x.sample.reshape(x.sample.shape[0], -1), axis=1)

    def zero_pad(self, x: Tensor, pad: int) -> Tensor:
        pads = np.array([0, 0, pad, pad, 0, 0, pad, pad], dtype=np.int64)
        sample = np.pad(x.sample, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
        return self._add("Pad", [x.name, self._constant(pads)], sample, mode="constant")

    def upsample_nearest(self, x: Tensor, factor: int) -> Tensor:
        scales = self._constant(np.array([1, 1, factor, factor], dtype=np.float32))
        sample = x.sample.repeat(factor, axis=2).repeat(factor, axis=3)
        return self._add(
            "Resize",
            [x.name, "", scales],
            sample,
            mode="nearest",
            nearest_mode="floor",
            coordinate_transformation_mode="asymmetric",
        )

    def slice_every_second(self, x: Tensor, axis: int, start: int) -> Tensor:
        bounds = [np.array([v], dtype=np.int64) for v in (start, np.iinfo(np.int64).max, axis, 2)]
        index = [slice(None)] * x.sample.ndim
        index[axis] = slice(start, None, 2)
        return self._add("Slice", [x.name, *(self._constant(b) for b in bounds)], x.sample[tuple(index)])

    def reshape(self, x: Tensor, shape: Sequence[int]) -> Tensor:
        """`shape` as ONNX has it: 0 keeps a dimension, -1 takes the rest."""
        target = [x.sample.shape[i] if d == 0 else d for i, d in enumerate(shape)]
        return self._add(
            "Reshape", [x.name, self._constant(np.array(shape, dtype=np.int64))], x.sample.reshape(target)
        )

    def transpose(self, x: Tensor, perm: Sequence[int]) -> Tensor:
        return self._add("Transpose", [x.name], x.sample.transpose(perm), perm=list(perm))
