"""mmsegmentation's networks."""

import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.torch_models.layers import Encoding, ResNet, conv


class ConvModule(nn.Module):
    """mmcv's unit."""

    def __init__(self, c_in, c_out, size=3, dilation=1):
        super().__init__()
        self.conv = conv(c_in, c_out, size, 1, dilation)
        self.bn = nn.BatchNorm2d(c_out)

    def forward(self, x):
        return F.relu(self.bn(self.conv(x)))


class OpenMMLabContext(nn.Module):
    def __init__(self, project, channels, codes):
        super().__init__()
        self.encoding_project = project
        code_layers = [Encoding(codes, channels), nn.BatchNorm1d(codes), nn.ReLU()]
        self.encoding = nn.Sequential(*code_layers)
        self.fc = nn.Sequential(nn.Linear(channels, channels), nn.Sigmoid())

    def forward(self, x):
        e = self.encoding(self.encoding_project(x)).mean(1)
        return e, F.relu(x + x * self.fc(e)[..., None, None])


class OpenMMLabEncHead(nn.Module):
    def __init__(self, widths, channels, classes, codes, lateral):
        super().__init__()
        self.conv_seg = nn.Conv2d(channels, classes, 1)
        self.bottleneck = ConvModule(widths[3], channels)
        self.lateral = lateral
        if lateral:
            convs = [ConvModule(width, channels, 1) for width in widths[1:3]]
            self.lateral_convs = nn.ModuleList(convs)
            self.fusion = ConvModule(3 * channels, channels)
        self.enc_module = OpenMMLabContext(
            ConvModule(channels, channels, 1), channels, codes
        )
        self.se_layer = nn.Linear(channels, classes)

    def forward(self, stages):
        x = self.bottleneck(stages[3])
        if self.lateral:
            others = [self.lateral_convs[i](stages[i + 1]) for i in range(2)]
            x = self.fusion(torch.cat([x, *others], 1))
        e, x = self.enc_module(x)
        return {"logits": self.conv_seg(x), "se_logits": self.se_layer(e)}


class OpenMMLabFCNHead(nn.Module):
    def __init__(self, c_in, channels, classes, num_convs=2, concat=True):
        super().__init__()
        self.conv_seg = nn.Conv2d(channels, classes, 1)
        inputs = [c_in] + [channels] * (num_convs - 1)
        self.convs = nn.Sequential(*(ConvModule(c, channels) for c in inputs))
        self.conv_cat = ConvModule(c_in + channels, channels) if concat else None

    def forward(self, x):
        y = self.convs(x)
        if self.conv_cat is not None:
            y = self.conv_cat(torch.cat([x, y], 1))
        return {"logits": self.conv_seg(y)}


class OpenMMLabPSPHead(nn.Module):
    def __init__(self, c_in, channels, classes):
        super().__init__()
        self.conv_seg = nn.Conv2d(channels, classes, 1)
        branches = [
            nn.Sequential(nn.AdaptiveAvgPool2d(cells), ConvModule(c_in, channels, 1))
            for cells in (1, 2, 3, 6)
        ]
        self.psp_modules = nn.ModuleList(branches)
        self.bottleneck = ConvModule(c_in + 4 * channels, channels)

    def forward(self, x):
        found = [x]
        for branch in self.psp_modules:
            y = branch(x)
            found.append(F.interpolate(y, x.shape[2:], mode="bilinear"))
        return {"logits": self.conv_seg(self.bottleneck(torch.cat(found, 1)))}


class OpenMMLabASPPHead(nn.Module):
    def __init__(self, c_in, channels, classes):
        super().__init__()
        self.conv_seg = nn.Conv2d(channels, classes, 1)
        pool = [nn.AdaptiveAvgPool2d(1), ConvModule(c_in, channels, 1)]
        self.image_pool = nn.Sequential(*pool)
        branches = [
            ConvModule(c_in, channels, 1 if rate == 1 else 3, rate)
            for rate in (1, 12, 24, 36)
        ]
        self.aspp_modules = nn.ModuleList(branches)
        self.bottleneck = ConvModule(5 * channels, channels)

    def forward(self, x):
        image = self.image_pool(x).expand(-1, -1, *x.shape[2:])
        found = [image, *(branch(x) for branch in self.aspp_modules)]
        return {"logits": self.conv_seg(self.bottleneck(torch.cat(found, 1)))}


class OpenMMLab(nn.Module):
    """mmsegmentation's networks; options are those of ResNet."""

    def __init__(
        self, name, spec, channels, aux_channels, classes, codes, lateral, **net
    ):
        super().__init__()
        self.backbone = ResNet(spec, **net)
        widths = [spec.out_channels // 2**i for i in (3, 2, 1, 0)]
        heads = {
            "encnet": lambda: OpenMMLabEncHead(
                widths, channels, classes, codes, lateral
            ),
            "fcn": lambda: OpenMMLabFCNHead(widths[3], channels, classes),
            "pspnet": lambda: OpenMMLabPSPHead(widths[3], channels, classes),
            "deeplabv3": lambda: OpenMMLabASPPHead(widths[3], channels, classes),
        }
        self.name, self.decode_head = name, heads[name]()
        self.auxiliary_head = OpenMMLabFCNHead(
            widths[2], aux_channels, classes, 1, False
        )

    def forward(self, x):
        stages = self.backbone.stages(x)
        outputs = self.decode_head(stages if self.name == "encnet" else stages[3])
        return outputs | {"aux_logits": self.auxiliary_head(stages[2])["logits"]}
