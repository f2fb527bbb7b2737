"""PyTorch-Encoding's networks."""

import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.torch_models.layers import Encoding, ResNet, unit


class AuthorsContext(nn.Module):
    def __init__(self, channels, classes, codes):
        super().__init__()
        code_layers = [Encoding(codes, channels), nn.BatchNorm1d(codes), nn.ReLU()]
        self.encoding = nn.Sequential(*unit(channels, channels, 1), *code_layers)
        self.fc = nn.Sequential(nn.Linear(channels, channels), nn.Sigmoid())
        self.selayer = nn.Linear(channels, classes)

    def forward(self, x):
        e = self.encoding(x).mean(1)
        return F.relu(x + x * self.fc(e)[..., None, None]), self.selayer(e)


class AuthorsEncHead(nn.Module):
    def __init__(self, widths, channels, classes, codes, lateral):
        super().__init__()
        self.conv5 = unit(widths[3], channels)
        self.lateral = lateral
        if lateral:
            connect = [unit(widths[1], channels, 1), unit(widths[2], channels, 1)]
            self.connect = nn.ModuleList(connect)
            self.fusion = unit(3 * channels, channels)
        self.encmodule = AuthorsContext(channels, classes, codes)
        self.conv6 = nn.Sequential(nn.Dropout(0.1), nn.Conv2d(channels, classes, 1))

    def forward(self, stages):
        x = self.conv5(stages[3])
        if self.lateral:
            others = [self.connect[i](stages[i + 1]) for i in range(2)]
            x = self.fusion(torch.cat([x, *others], 1))
        x, presence = self.encmodule(x)
        return {"logits": self.conv6(x), "se_logits": presence}


class AuthorsFCNHead(nn.Module):
    def __init__(self, c_in, channels, classes):
        super().__init__()
        last = [nn.Dropout(0.1), nn.Conv2d(channels, classes, 1)]
        self.conv5 = nn.Sequential(*unit(c_in, channels), *last)

    def forward(self, x):
        return {"logits": self.conv5(x)}


class AuthorsPyramid(nn.Module):
    def __init__(self, c_in, channels):
        super().__init__()
        for i in range(1, 5):
            setattr(self, f"conv{i}", unit(c_in, channels, 1))

    def forward(self, x):
        found = [x]
        for i, cells in enumerate((1, 2, 3, 6), 1):
            y = getattr(self, f"conv{i}")(F.adaptive_avg_pool2d(x, cells))
            found.append(
                F.interpolate(y, x.shape[2:], mode="bilinear", align_corners=True)
            )
        return torch.cat(found, 1)


class AuthorsPSPHead(nn.Module):
    def __init__(self, c_in, channels, classes):
        super().__init__()
        last = [nn.Dropout(0.1), nn.Conv2d(channels, classes, 1)]
        self.conv5 = nn.Sequential(
            AuthorsPyramid(c_in, channels), *unit(c_in + 4 * channels, channels), *last
        )

    def forward(self, x):
        return {"logits": self.conv5(x)}


class ImagePool(nn.Module):
    def __init__(self, c_in, channels):
        super().__init__()
        self.gap = nn.Sequential(nn.AdaptiveAvgPool2d(1), *unit(c_in, channels, 1))

    def forward(self, x):
        return self.gap(x).expand(-1, -1, *x.shape[2:])


class AuthorsASPP(nn.Module):
    def __init__(self, c_in, channels):
        super().__init__()
        self.b0 = unit(c_in, channels, 1)
        for i, rate in enumerate((12, 24, 36), 1):
            setattr(self, f"b{i}", unit(c_in, channels, 3, rate))
        self.b4 = ImagePool(c_in, channels)
        self.project = unit(5 * channels, channels, 1)

    def forward(self, x):
        return self.project(torch.cat([getattr(self, f"b{i}")(x) for i in range(5)], 1))


class AuthorsDeepLabHead(nn.Module):
    def __init__(self, c_in, channels, classes):
        super().__init__()
        self.aspp = AuthorsASPP(c_in, channels)
        last = [nn.Dropout(0.1), nn.Conv2d(channels, classes, 1)]
        self.block = nn.Sequential(*unit(channels, channels), *last)

    def forward(self, x):
        return {"logits": self.block(self.aspp(x))}


class Authors(nn.Module):
    """PyTorch-Encoding's networks; options are those of ResNet."""

    def __init__(
        self, name, spec, channels, aux_channels, classes, codes, lateral, **net
    ):
        super().__init__()
        self.pretrained = ResNet(spec, **net)
        widths = [spec.out_channels // 2**i for i in (3, 2, 1, 0)]
        heads = {
            "encnet": lambda: AuthorsEncHead(widths, channels, classes, codes, lateral),
            "fcn": lambda: AuthorsFCNHead(widths[3], channels, classes),
            "pspnet": lambda: AuthorsPSPHead(widths[3], channels, classes),
            "deeplabv3": lambda: AuthorsDeepLabHead(widths[3], channels, classes),
        }
        self.name, self.head = name, heads[name]()
        self.auxlayer = AuthorsFCNHead(widths[2], aux_channels, classes)

    def forward(self, x):
        stages = self.pretrained.stages(x)
        outputs = self.head(stages if self.name == "encnet" else stages[3])
        return outputs | {"aux_logits": self.auxlayer(stages[2])["logits"]}
