"""Layers of the PyTorch networks, ResNets, and random parameters."""

import torch
from torch import nn
from torch.nn import functional as F


def conv(c_in, c_out, size=3, stride=1, dilation=1):
    pad = dilation * (size // 2)
    return nn.Conv2d(c_in, c_out, size, stride, pad, dilation, bias=False)


def unit(c_in, c_out, size=3, dilation=1):
    """Returns a sequence of convolution, norm and ReLU."""
    layers = [conv(c_in, c_out, size, 1, dilation), nn.BatchNorm2d(c_out), nn.ReLU()]
    return nn.Sequential(*layers)


class Block(nn.Module):
    def __init__(self, c_in, width, bottleneck, stride, rates, avg_down):
        super().__init__()
        c_out = width * (4 if bottleneck else 1)
        if bottleneck:
            layers = [(c_in, width, 1, 1, 1), (width, width, 3, stride, rates[0])]
            layers.append((width, c_out, 1, 1, 1))
        else:
            layers = [
                (c_in, width, 3, stride, rates[0]),
                (width, width, 3, 1, rates[1]),
            ]
        self.depth = len(layers)
        for i, layer in enumerate(layers, 1):
            setattr(self, f"conv{i}", conv(*layer))
            setattr(self, f"bn{i}", nn.BatchNorm2d(layer[1]))
        self.downsample = None
        if stride != 1 or c_in != c_out:
            pool = [nn.AvgPool2d(stride, stride, 0, True, False)] if avg_down else []
            stride = 1 if avg_down else stride
            shortcut = [*pool, conv(c_in, c_out, 1, stride), nn.BatchNorm2d(c_out)]
            self.downsample = nn.Sequential(*shortcut)

    def forward(self, x):
        y = x
        for i in range(1, self.depth + 1):
            y = getattr(self, f"bn{i}")(getattr(self, f"conv{i}")(y))
            y = F.relu(y) if i < self.depth else y
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNet(nn.Module):
    """`stem` is 'conv7', 'deep' (conv1.0 ...) or 'v1c' (stem.0 ...)."""

    def __init__(self, spec, stem="conv7", stem_width=64, avg_down=False, rates=None):
        super().__init__()
        w = stem_width
        self.v1c = stem == "v1c"
        layers = [conv(3, w, 3, 2), nn.BatchNorm2d(w), nn.ReLU()]
        layers += [conv(w, w), nn.BatchNorm2d(w), nn.ReLU(), conv(w, 2 * w)]
        c_in = w if stem == "conv7" else 2 * w
        if self.v1c:
            self.stem = nn.Sequential(*layers, nn.BatchNorm2d(c_in), nn.ReLU())
        else:
            deep = stem == "deep"
            self.conv1 = nn.Sequential(*layers) if deep else conv(3, w, 7, 2)
            self.bn1 = nn.BatchNorm2d(c_in)
        for stage, count in enumerate(spec.blocks):
            width, rate = spec.width * 2**stage, (rates or (1, 1, 1, 1))[stage]
            blocks = []
            for i in range(count):
                stride = 2 if stage and rate == 1 and i == 0 else 1
                first = max(rate // 2, 1) if i == 0 else rate
                blocks.append(
                    Block(c_in, width, spec.bottleneck, stride, (first, rate), avg_down)
                )
                c_in = width * (4 if spec.bottleneck else 1)
            setattr(self, f"layer{stage + 1}", nn.Sequential(*blocks))

    def stages(self, x):
        x = self.stem(x) if self.v1c else F.relu(self.bn1(self.conv1(x)))
        x = F.max_pool2d(x, 3, 2, 1)
        found = []
        for i in range(1, 5):
            x = getattr(self, f"layer{i}")(x)
            found.append(x)
        return found


class Classifier(ResNet):
    """A ResNet as published for ImageNet."""

    def __init__(self, spec, **options):
        super().__init__(spec, **options)
        self.fc = nn.Linear(spec.out_channels, 1000)


class Encoding(nn.Module):
    def __init__(self, codes, channels):
        super().__init__()
        self.codewords = nn.Parameter(torch.empty(codes, channels))
        self.scale = nn.Parameter(torch.empty(codes))

    def forward(self, x):
        x = x.flatten(2).transpose(1, 2)[:, :, None]
        residuals = x - self.codewords
        weights = (self.scale * residuals.pow(2).sum(3)).softmax(2)
        return (weights[..., None] * residuals).sum(1)


def randomise(module, seed=0):
    """Fills every array with values that keep activations near one, except counters."""
    generator = torch.Generator().manual_seed(seed)

    def normal(tensor, scale, shift=0.0):
        tensor.copy_(shift + scale * torch.randn(tensor.shape, generator=generator))

    with torch.no_grad():
        for name, tensor in module.state_dict().items():
            if name.endswith("running_var"):
                tensor.copy_(0.5 + torch.rand(tensor.shape, generator=generator))
            elif name.endswith(".scale"):
                tensor.copy_(-torch.rand(tensor.shape, generator=generator))
            elif tensor.ndim == 1:
                normal(tensor, 0.1, 0.7 if name.endswith("weight") else 0.0)
            elif tensor.ndim:
                normal(tensor, (2 / tensor[0].numel()) ** 0.5)
    return module.eval()
