"""sssegmentation's EncNet."""

from torch import nn

from benchmarks.torch_models.layers import ResNet, unit
from benchmarks.torch_models.openmmlab import OpenMMLabContext
from benchmarks.torch_models.torchvision import torchvision_fcn_head


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
