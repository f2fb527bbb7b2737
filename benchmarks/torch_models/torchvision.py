"""torchvision's segmentation networks."""

import torch
from torch import nn

from benchmarks.torch_models.layers import ResNet, unit


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
