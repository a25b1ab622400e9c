"""The test networks for the GPU peers: an ONNX file as a PyTorch module or a JAX function, with the same weights.

    net = read_net("resnet18.onnx")                 # BatchNorm folded into convolutions, shapes as the file has them
    module = TorchNet(net, torch.float16).cuda()    # channels_last; fused=True: cuDNN's conv (+ add) + ReLU calls
    run = jax_function(net, "float16")              # NHWC inside, NCHW outside, as XLA likes it

Covers the operators of tools/models; another operator is an error that names it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Callable

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from onnx import numpy_helper


@dataclass
class Step:
    op: str
    inputs: list[str]
    output: str
    attrs: dict[str, Any]


@dataclass
class Net:
    inputs: list[str]
    outputs: list[str]
    steps: list[Step] = field(default_factory=list)
    constants: dict[str, np.ndarray] = field(default_factory=dict)

    def uses(self, name: str) -> list[Step]:
        return [s for s in self.steps if name in s.inputs]


def read_net(path: str) -> Net:
    graph = onnx.load(path).graph
    constants = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    net = Net([i.name for i in graph.input if i.name not in constants], [o.name for o in graph.output], [], constants)
    for node in graph.node:
        attrs = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        if node.op_type == "Constant":
            constants[node.output[0]] = numpy_helper.to_array(attrs["value"])
        else:
            net.steps.append(Step(node.op_type, list(node.input), node.output[0], attrs))
    _fold_batch_norms(net)
    return net


def _fold_batch_norms(net: Net) -> None:
    by_output = {s.output: s for s in net.steps}
    for norm in [s for s in net.steps if s.op == "BatchNormalization"]:
        conv = by_output.get(norm.inputs[0])
        if conv is None or conv.op not in ("Conv", "ConvTranspose") or len(net.uses(conv.output)) != 1:
            raise ValueError(f"BatchNormalization of {norm.inputs[0]!r} does not follow a convolution of its own")
        scale, bias, mean, var = (net.constants[n].astype(np.float64) for n in norm.inputs[1:5])
        factor = scale / np.sqrt(var + norm.attrs.get("epsilon", 1e-5))
        weights = net.constants[conv.inputs[1]].astype(np.float64)
        axis = (-1, 1, 1, 1) if conv.op == "Conv" else (1, -1, 1, 1)
        old = net.constants[conv.inputs[2]] if len(conv.inputs) > 2 else 0.0
        net.constants[norm.output + ".weight"] = (weights * factor.reshape(axis)).astype(np.float32)
        net.constants[norm.output + ".bias"] = (bias + (old - mean) * factor).astype(np.float32)
        conv.inputs = [conv.inputs[0], norm.output + ".weight", norm.output + ".bias"]
        conv.output = norm.output
        net.steps.remove(norm)


class TorchNet(torch.nn.Module):
    """Runs the steps; `fused` uses cuDNN's fused convolution calls where a ReLU (and an Add) follows."""

    def __init__(self, net: Net, dtype: torch.dtype, fused: bool = False) -> None:
        super().__init__()
        self.net, self.dtype, self.fused = net, dtype, fused
        self.steps = self._fuse() if fused else net.steps
        self.names: dict[str, str] = {}
        for name in sorted({n for s in self.steps for n in s.inputs if n in net.constants}):
            value = net.constants[name]
            if value.dtype == np.float32 and value.ndim > 0:
                tensor = torch.from_numpy(value.copy()).to(dtype)
                if value.ndim == 4:
                    tensor = tensor.contiguous(memory_format=torch.channels_last)
                self.names[name] = f"c{len(self.names)}"
                self.register_buffer(self.names[name], tensor)

    def _fuse(self) -> list[Step]:
        net, done, result = self.net, set(), []
        order = {s.output: i for i, s in enumerate(net.steps)}

        def sole(s: Step) -> Step | None:
            after = net.uses(s.output)
            return after[0] if len(after) == 1 and s.output not in net.outputs else None

        for s in net.steps:
            if s.op == "Conv" and s.attrs.get("group", 1) == 1 and s.output not in done:
                after = sole(s)
                if after is not None and after.op == "Relu":
                    done |= {s.output, after.output}
                    result.append(Step("ConvRelu", s.inputs, after.output, s.attrs))
                elif after is not None and after.op == "Add" and (relu := sole(after)) is not None and relu.op == "Relu":
                    other = next(i for i in after.inputs if i != s.output)
                    if other not in done and order.get(other, -1) > order[s.output]:
                        continue  # the other operand comes later: fuse that one
                    done |= {s.output, after.output, relu.output}
                    result.append(Step("ConvAddRelu", [*s.inputs, other], relu.output, s.attrs))
        by_output = {s.output: s for s in result}
        swallowed = done - set(by_output)
        ordered = []
        for s in net.steps:
            if s.output in by_output:
                ordered.append(by_output[s.output])
            elif s.output not in swallowed:
                ordered.append(s)
        return ordered

    def forward(self, *xs: torch.Tensor) -> list[torch.Tensor]:
        values = dict(zip(self.net.inputs, xs))

        def get(name: str) -> torch.Tensor:
            return values[name] if name in values else getattr(self, self.names[name])

        for s in self.steps:
            values[s.output] = self._step(s, get)
        return [values[o] for o in self.net.outputs]

    def _step(self, s: Step, get: Callable[[str], torch.Tensor]) -> torch.Tensor:
        a, const = s.attrs, self.net.constants
        x = get(s.inputs[0]) if s.inputs[0] in self.names or s.inputs[0] not in const else None
        if s.op in ("Conv", "ConvRelu", "ConvAddRelu"):
            w, b = get(s.inputs[1]), get(s.inputs[2]) if len(s.inputs) > 2 else None
            stride, dilation = a.get("strides", [1, 1]), a.get("dilations", [1, 1])
            pads = a.get("pads", [0, 0, 0, 0])
            if pads[:2] != pads[2:]:
                x, pads = F.pad(x, (pads[1], pads[3], pads[0], pads[2])), [0, 0, 0, 0]
            if s.op == "ConvRelu":
                return torch.cudnn_convolution_relu(x, w, b, stride, pads[:2], dilation, 1)
            if s.op == "ConvAddRelu":
                return torch.cudnn_convolution_add_relu(x, w, get(s.inputs[3]), 1.0, b, stride, pads[:2], dilation, 1)
            return F.conv2d(x, w, b, stride, pads[:2], dilation, a.get("group", 1))
        if s.op == "ConvTranspose":
            b = get(s.inputs[2]) if len(s.inputs) > 2 else None
            return F.conv_transpose2d(x, get(s.inputs[1]), b, a.get("strides", [1, 1]), a.get("pads", [0, 0])[:2])
        if s.op == "MaxPool":
            p = a.get("pads", [0, 0, 0, 0])
            return F.max_pool2d(x, a["kernel_shape"], a["strides"], p[:2])
        if s.op == "Pad":
            p = const[s.inputs[1]]
            return F.pad(x, (int(p[3]), int(p[7]), int(p[2]), int(p[6])))
        if s.op == "Clip":
            return torch.clamp(x, float(const[s.inputs[1]]), float(const[s.inputs[2]]))
        if s.op == "Gemm":
            return F.linear(x, get(s.inputs[1]) if a.get("transB") else get(s.inputs[1]).t(), get(s.inputs[2]))
        if s.op == "Slice":
            starts, ends, axes, steps = (const[n].tolist() for n in s.inputs[1:5])
            index = [slice(None)] * x.dim()
            for start, end, axis, step in zip(starts, ends, axes, steps):
                index[axis] = slice(start, min(end, x.shape[axis]), step)
            return x[tuple(index)]
        simple: dict[str, Callable[[], torch.Tensor]] = {
            "Relu": lambda: torch.relu(x),
            "Sigmoid": lambda: torch.sigmoid(x),
            "Add": lambda: x + get(s.inputs[1]),
            "Mul": lambda: x * get(s.inputs[1]),
            "Concat": lambda: torch.cat([get(n) for n in s.inputs], a["axis"]),
            "GlobalAveragePool": lambda: x.mean((2, 3), keepdim=True),
            "Flatten": lambda: x.flatten(a.get("axis", 1)),
            "Transpose": lambda: x.permute(a["perm"]),
            "Reshape": lambda: x.reshape([x.shape[i] if d == 0 else int(d) for i, d in enumerate(const[s.inputs[1]])]),
            "Resize": lambda: F.interpolate(x, scale_factor=[float(v) for v in const[s.inputs[2]][2:]], mode="nearest"),
        }
        if s.op not in simple:
            raise ValueError(f"no peer for operator {s.op}")
        return simple[s.op]()


def jax_function(net: Net, dtype: str) -> tuple[Callable[..., Any], dict[str, Any]]:
    """A function of (weights, inputs NHWC) and its weights, on the GPU; for jax.jit. Networks of the ResNet kind."""
    import jax.numpy as jnp
    from jax import lax

    weights: dict[str, Any] = {}
    for s in net.steps:
        for n in s.inputs[1:]:
            if n in net.constants and net.constants[n].ndim > 0:
                value = net.constants[n]
                value = value.transpose(2, 3, 1, 0) if s.op == "Conv" and value.ndim == 4 else value
                weights[n] = jnp.asarray(value, dtype)

    def run(w: dict[str, Any], x: Any) -> Any:
        values = {net.inputs[0]: x}
        for s in net.steps:
            a, v = s.attrs, values[s.inputs[0]]
            if s.op == "Conv":
                p = a.get("pads", [0, 0, 0, 0])
                v = lax.conv_general_dilated(
                    v, w[s.inputs[1]], a.get("strides", [1, 1]), [(p[0], p[2]), (p[1], p[3])], (1, 1),
                    a.get("dilations", [1, 1]), ("NHWC", "HWIO", "NHWC"), a.get("group", 1))  # fmt: skip
                v = v + w[s.inputs[2]] if len(s.inputs) > 2 else v
            elif s.op == "Relu":
                v = jnp.maximum(v, 0)
            elif s.op == "Clip":
                v = jnp.clip(v, float(net.constants[s.inputs[1]]), float(net.constants[s.inputs[2]]))
            elif s.op == "Add":
                v = v + values[s.inputs[1]]
            elif s.op == "MaxPool":
                k, t, p = a["kernel_shape"], a["strides"], a["pads"]
                v = lax.reduce_window(v, np.array(-np.inf, v.dtype), lax.max, (1, *k, 1), (1, *t, 1),
                                      ((0, 0), (p[0], p[2]), (p[1], p[3]), (0, 0)))  # fmt: skip
            elif s.op == "GlobalAveragePool":
                v = jnp.mean(v, (1, 2), keepdims=True)
            elif s.op == "Flatten":
                v = v.reshape(v.shape[0], -1)
            elif s.op == "Gemm":
                v = v @ w[s.inputs[1]].T + w[s.inputs[2]]
            else:
                raise ValueError(f"no JAX peer for operator {s.op}")
            values[s.output] = v
        return values[net.outputs[0]]

    return run, weights
