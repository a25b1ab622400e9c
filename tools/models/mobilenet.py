"""MobileNetV2 for classification, and a small MobileNet detector with nine output maps."""

from __future__ import annotations

from net import Net, Tensor

# expansion, filters, repeats, stride of the first
V2_BLOCKS = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
# filters and stride of the depthwise-separable blocks; maps leave after the blocks of stride 8, 16 and 32
V1_BLOCKS = (
    (32, 1),
    (64, 2),
    (64, 1),
    (128, 2),
    (128, 1),
    (256, 2),
    (256, 1),
    (256, 1),
    (256, 1),
    (512, 2),
    (512, 1),
)
V1_TAPS = (4, 8, 10)
MAPS = (("score", 2), ("box", 8), ("landmark", 20))


def _inverted_residual(net: Net, x: Tensor, expansion: int, filters: int, stride: int) -> Tensor:
    y = x
    if expansion != 1:
        y = net.relu6(net.batch_norm(net.conv(y, expansion * x.channels, 1)))
    y = net.relu6(net.batch_norm(net.conv(y, y.channels, 3, stride, depthwise=True)))
    y = net.batch_norm(net.conv(y, filters, 1), gamma=0.7)
    return net.add(x, y) if stride == 1 and x.channels == filters else y


def mobilenet_v2() -> Net:
    net = Net("mobilenet_v2", 2)
    x = net.input("input", ("N", 3, 224, 224), sample_hw=(96, 96))
    x = net.relu6(net.batch_norm(net.conv(x, 32, 3, 2)))
    for expansion, filters, repeats, stride in V2_BLOCKS:
        for i in range(repeats):
            x = _inverted_residual(net, x, expansion, filters, stride if i == 0 else 1)
    x = net.relu6(net.batch_norm(net.conv(x, 1280, 1)))
    net.output("output", net.gemm(net.flatten(net.global_average(x)), 1000), ("N", 1000))
    return net


def _separable(net: Net, x: Tensor, filters: int, stride: int) -> Tensor:
    x = net.relu(net.batch_norm(net.conv(x, x.channels, 3, stride, depthwise=True)))
    return net.relu(net.batch_norm(net.conv(x, filters, 1)))


def mobilenet9() -> Net:
    net = Net("mobilenet9", 9)
    x = net.input("input", (1, 3, 720, 1280), sample_hw=(192, 256))
    x = net.relu(net.batch_norm(net.conv(x, 16, 3, 2)))
    taps = []
    for i, (filters, stride) in enumerate(V1_BLOCKS):
        x = _separable(net, x, filters, stride)
        if i in V1_TAPS:
            taps.append(x)
    for tap, stride in zip(taps, (8, 16, 32)):
        feature = _separable(net, tap, 64, 1)
        height, width = -(-720 // stride), -(-1280 // stride)
        for kind, filters in MAPS:
            y = net.conv(feature, filters, 1, bias=True)
            y = net.sigmoid(y) if kind == "score" else y
            net.output(f"{kind}_{stride}", y, (1, filters, height, width))
    return net
