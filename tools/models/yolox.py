"""YOLOX-m: Focus stem, CSP backbone, SPP, path-aggregation neck, decoupled heads; raw outputs as exported."""

from __future__ import annotations

from net import Net, Tensor

WIDTH = 0.75
DEPTH = 2  # bottlenecks of a CSP layer, times three in the two middle stages
CLASSES = 80


def _conv(net: Net, x: Tensor, filters: int, kernel: int, stride: int = 1) -> Tensor:
    return net.silu(net.batch_norm(net.conv(x, filters, kernel, stride), gamma=1.3, epsilon=1e-3))


def _focus(net: Net, x: Tensor, filters: int) -> Tensor:
    parts = []
    for row, column in ((0, 0), (1, 0), (0, 1), (1, 1)):
        parts.append(net.slice_every_second(net.slice_every_second(x, 2, row), 3, column))
    return _conv(net, net.concat(parts), filters, 3)


def _csp(net: Net, x: Tensor, filters: int, depth: int, shortcut: bool) -> Tensor:
    hidden = filters // 2
    left, right = _conv(net, x, hidden, 1), _conv(net, x, hidden, 1)
    for _ in range(depth):
        y = _conv(net, _conv(net, left, hidden, 1), hidden, 3)
        left = net.add(y, left) if shortcut else y
    return _conv(net, net.concat([left, right]), filters, 1)


def _spp(net: Net, x: Tensor, filters: int) -> Tensor:
    x = _conv(net, x, x.channels // 2, 1)
    pooled = [net.max_pool(x, kernel, 1, kernel // 2) for kernel in (5, 9, 13)]
    return _conv(net, net.concat([x, *pooled]), filters, 1)


def _neck(net: Net, c3: Tensor, c4: Tensor, c5: Tensor) -> list[Tensor]:
    lateral5 = _conv(net, c5, c4.channels, 1)
    p4 = _csp(net, net.concat([net.upsample_nearest(lateral5, 2), c4]), c4.channels, DEPTH, False)
    lateral4 = _conv(net, p4, c3.channels, 1)
    out3 = _csp(net, net.concat([net.upsample_nearest(lateral4, 2), c3]), c3.channels, DEPTH, False)
    down3 = _conv(net, out3, c3.channels, 3, 2)
    out4 = _csp(net, net.concat([down3, lateral4]), c4.channels, DEPTH, False)
    down4 = _conv(net, out4, c4.channels, 3, 2)
    out5 = _csp(net, net.concat([down4, lateral5]), c5.channels, DEPTH, False)
    return [out3, out4, out5]


def _head(net: Net, x: Tensor) -> Tensor:
    width = int(256 * WIDTH)
    x = _conv(net, x, width, 1)
    classes = _conv(net, _conv(net, x, width, 3), width, 3)
    boxes = _conv(net, _conv(net, x, width, 3), width, 3)
    class_map = net.sigmoid(net.conv(classes, CLASSES, 1, bias=True))
    box_map = net.conv(boxes, 4, 1, bias=True)
    object_map = net.sigmoid(net.conv(boxes, 1, 1, bias=True))
    return net.reshape(net.concat([box_map, object_map, class_map]), (0, 5 + CLASSES, -1))


def yolox_m() -> Net:
    net = Net("yolox_m", 25)
    c = [int(base * WIDTH) for base in (64, 128, 256, 512, 1024)]
    x = net.input("images", ("N", 3, 640, 640), sample_hw=(256, 256))
    x = _focus(net, x, c[0])
    x = _csp(net, _conv(net, x, c[1], 3, 2), c[1], DEPTH, True)
    c3 = _csp(net, _conv(net, x, c[2], 3, 2), c[2], 3 * DEPTH, True)
    c4 = _csp(net, _conv(net, c3, c[3], 3, 2), c[3], 3 * DEPTH, True)
    c5 = _csp(net, _spp(net, _conv(net, c4, c[4], 3, 2), c[4]), c[4], DEPTH, False)
    heads = [_head(net, level) for level in _neck(net, c3, c4, c5)]
    net.output("output", net.transpose(net.concat(heads, axis=2), (0, 2, 1)), ("N", 8400, 5 + CLASSES))
    return net
