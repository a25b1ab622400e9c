"""ResNet-18 and ResNet-50 (v1.5: the stride sits in the 3x3 convolution)."""

from __future__ import annotations

from net import Net, Tensor

STAGES = (64, 128, 256, 512)


def _conv_bn(net: Net, x: Tensor, filters: int, kernel: int, stride: int = 1, gamma: float = 1.0) -> Tensor:
    return net.batch_norm(net.conv(x, filters, kernel, stride), gamma)


def _basic(net: Net, x: Tensor, width: int, stride: int) -> Tensor:
    y = net.relu(_conv_bn(net, x, width, 3, stride))
    y = _conv_bn(net, y, width, 3, gamma=0.5)
    if stride != 1 or x.channels != width:
        x = _conv_bn(net, x, width, 1, stride)
    return net.relu(net.add(y, x))


def _bottleneck(net: Net, x: Tensor, width: int, stride: int) -> Tensor:
    y = net.relu(_conv_bn(net, x, width, 1))
    y = net.relu(_conv_bn(net, y, width, 3, stride))
    y = _conv_bn(net, y, 4 * width, 1, gamma=0.5)
    if stride != 1 or x.channels != 4 * width:
        x = _conv_bn(net, x, 4 * width, 1, stride)
    return net.relu(net.add(y, x))


def _resnet(name: str, seed: int, depths: tuple[int, ...], bottleneck: bool) -> Net:
    net = Net(name, seed)
    block = _bottleneck if bottleneck else _basic
    x = net.input("input", ("N", 3, 224, 224), sample_hw=(96, 96))
    x = net.max_pool(net.relu(_conv_bn(net, x, 64, 7, 2)), kernel=3, stride=2, pad=1)
    for stage, (width, depth) in enumerate(zip(STAGES, depths)):
        for i in range(depth):
            x = block(net, x, width, stride=2 if stage > 0 and i == 0 else 1)
    net.output("output", net.gemm(net.flatten(net.global_average(x)), 1000), ("N", 1000))
    return net


def resnet18() -> Net:
    return _resnet("resnet18", 18, (2, 2, 2, 2), bottleneck=False)


def resnet50() -> Net:
    return _resnet("resnet50", 50, (3, 4, 6, 3), bottleneck=True)
