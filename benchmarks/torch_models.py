"""Plain PyTorch versions of the networks whose weights are converted, with their names.

Source of the names: torchvision's resnet.py and segmentation networks,
PyTorch-Encoding's models, mmsegmentation's decode heads and sssegmentation's EncNet.
Dropout is included only if it has an index in a sequence.
"""

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


def torchvision_fcn_head(c_in, channels, classes):
    last = [nn.Dropout(0.1), nn.Conv2d(channels, classes, 1)]
    return nn.Sequential(*unit(c_in, channels), *last)


class TorchvisionASPP(nn.Module):
    def __init__(self, c_in, channels):
        super().__init__()
        pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), *unit(c_in, channels, 1))
        branches = [unit(c_in, channels, 3, rate) for rate in (12, 24, 36)]
        self.convs = nn.ModuleList([unit(c_in, channels, 1), *branches, pool])
        self.project = unit(5 * channels, channels, 1).append(nn.Dropout(0.5))

    def forward(self, x):
        found = [branch(x) for branch in self.convs]
        found[4] = found[4].expand(-1, -1, *x.shape[2:])
        return self.project(torch.cat(found, 1))


class Torchvision(nn.Module):
    """torchvision's segmentation networks; options are those of ResNet."""

    def __init__(self, name, spec, channels, aux_channels, classes, *_, **net):
        super().__init__()
        self.backbone = ResNet(spec, **net)
        c_in = spec.out_channels
        if name == "deeplabv3":
            head = torchvision_fcn_head(channels, channels, classes)
            # The pyramid comes before the sequence's other layers.
            layers = [TorchvisionASPP(c_in, channels), *head[:3], head[4]]
            self.classifier = nn.Sequential(*layers)
        else:
            self.classifier = torchvision_fcn_head(c_in, channels, classes)
        self.aux_classifier = torchvision_fcn_head(c_in // 2, aux_channels, classes)

    def forward(self, x):
        stages = self.backbone.stages(x)
        auxiliary = self.aux_classifier(stages[2])
        return {"logits": self.classifier(stages[3]), "aux_logits": auxiliary}


class SSSegmentation(nn.Module):
    """sssegmentation's EncNet; options are those of ResNet."""

    def __init__(self, name, spec, channels, aux_channels, classes, codes, *_, **net):
        super().__init__()
        self.backbone_net = ResNet(spec, **net)
        self.bottleneck = unit(spec.out_channels, channels)
        self.enc_module = OpenMMLabContext(unit(channels, channels, 1), channels, codes)
        self.se_layer = nn.Linear(channels, classes)
        last = nn.Conv2d(channels, classes, 1)
        self.decoder = nn.Sequential(nn.Dropout2d(0.1), last)
        c_in = spec.out_channels // 2
        self.auxiliary_decoder = torchvision_fcn_head(c_in, aux_channels, classes)

    def forward(self, x):
        stages = self.backbone_net.stages(x)
        e, x = self.enc_module(self.bottleneck(stages[3]))
        auxiliary = self.auxiliary_decoder(stages[2])
        found = {"logits": self.decoder(x), "se_logits": self.se_layer(e)}
        return found | {"aux_logits": auxiliary}


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
