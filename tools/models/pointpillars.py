"""The region proposal network of PointPillars: bird's-eye-view features in, three dense heads out."""

from __future__ import annotations

from net import Net, Tensor

BLOCKS = ((64, 3), (128, 5), (256, 5))  # filters, layers after the strided one
UPSAMPLE_FILTERS = 128
ANCHORS, CLASSES = 6, 3


def _block(net: Net, x: Tensor, filters: int, layers: int) -> Tensor:
    x = net.conv(net.zero_pad(x, 1), filters, 3, stride=2, pad=0)
    x = net.relu(net.batch_norm(x, epsilon=1e-3))
    for _ in range(layers):
        x = net.relu(net.batch_norm(net.conv(x, filters, 3), epsilon=1e-3))
    return x


def pointpillars_rpn() -> Net:
    net = Net("pointpillars_rpn", 3)
    x = net.input("bev", ("N", 64, 496, 432), sample_hw=(64, 64))
    maps = []
    for i, (filters, layers) in enumerate(BLOCKS):
        x = _block(net, x, filters, layers)
        up = net.conv_transpose(x, UPSAMPLE_FILTERS, stride=2**i)
        maps.append(net.relu(net.batch_norm(up, epsilon=1e-3)))
    features = net.concat(maps)
    heads = (("cls", ANCHORS * CLASSES), ("box", ANCHORS * 7), ("dir", ANCHORS * 2))
    for name, filters in heads:
        net.output(name, net.conv(features, filters, 1, bias=True, gain=1.0), ("N", filters, 248, 216))
    return net
