"""VGG-16 and ConvNeXt-T in PyTorch with the state-dict names of torchvision and timm.

Compared once with torchvision 0.29.1's `vgg16` and timm 1.0.31's `convnext_tiny`, with
PyTorch 2.14.1 and the weights of `randomise`: all features, and VGG-16's first fully
connected layer, were equal.
"""

import torch
import torch.nn.functional as F
from torch import nn

_VGG_LAYERS = (64, 64, 0, 128, 128, 0, 256, 256, 256, 0)
_VGG_LAYERS += (512, 512, 512, 0, 512, 512, 512, 0)  # 0: pooling.


class VGG16(nn.Module):
    """torchvision's vgg16 up to its first fully connected layer."""

    def __init__(self):
        super().__init__()
        layers, channels = [], 3
        for width in _VGG_LAYERS:
            if width:
                layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
                channels = width
            else:
                layers.append(nn.MaxPool2d(2, 2))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(nn.Linear(512 * 7 * 7, 4096))

    def stages(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Returns the outputs of blocks 1 to 5 and of the last pooling."""
        found = {}
        for i, layer in enumerate(self.features):
            x = found[i] = layer(x)
        return [found[i] for i in (3, 8, 15, 22, 29, 30)]

    def fc6(self, x: torch.Tensor) -> torch.Tensor:
        """Returns the first fully connected layer of 7x7 features, [B, 4096]."""
        return F.relu(self.classifier(torch.flatten(x, 1)))


class LayerNorm2d(nn.LayerNorm):
    """LayerNorm over the channels of [B, C, H, W]."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class ConvNeXtBlock(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.conv_dw = nn.Conv2d(channels, channels, 7, padding=3, groups=channels)
        self.norm = nn.LayerNorm(channels, eps=1e-6)
        self.mlp = nn.ModuleDict(
            {
                "fc1": nn.Linear(channels, 4 * channels),
                "fc2": nn.Linear(4 * channels, channels),
            }
        )
        self.gamma = nn.Parameter(1e-6 * torch.ones(channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.norm(self.conv_dw(x).permute(0, 2, 3, 1))
        y = self.gamma * self.mlp["fc2"](F.gelu(self.mlp["fc1"](y)))
        return x + y.permute(0, 3, 1, 2)


class ConvNeXtStage(nn.Module):
    def __init__(self, inputs: int, channels: int, blocks: int):
        super().__init__()
        if inputs != channels:
            self.downsample = nn.Sequential(
                LayerNorm2d(inputs, eps=1e-6), nn.Conv2d(inputs, channels, 2, 2)
            )
        self.blocks = nn.Sequential(*(ConvNeXtBlock(channels) for _ in range(blocks)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.blocks(self.downsample(x) if hasattr(self, "downsample") else x)


class ConvNeXtTiny(nn.Module):
    """timm's convnext_tiny without its classifier."""

    def __init__(self):
        super().__init__()
        widths = (96, 192, 384, 768)
        self.stem = nn.Sequential(nn.Conv2d(3, 96, 4, 4), LayerNorm2d(96, eps=1e-6))
        self.stages_ = nn.Sequential(
            *(
                ConvNeXtStage(*each)
                for each in zip((96, *widths), widths, (3, 3, 9, 3), strict=False)
            )
        )

    def state_dict(self, *args, **kwargs):
        """Returns the arrays under timm's names."""
        found = super().state_dict(*args, **kwargs)
        return {k.replace("stages_.", "stages."): x for k, x in found.items()}

    def stages(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Returns the outputs of the four stages."""
        x, found = self.stem(x), []
        for stage in self.stages_:
            x = stage(x)
            found.append(x)
        return found


def randomise(module: nn.Module) -> nn.Module:
    """Draws all parameters so that features keep a scale of about 1."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, x in module.named_parameters():
            noise = torch.randn(x.shape, generator=generator)
            if x.ndim > 1:
                x.copy_(noise * (1.5 / x[0].numel()) ** 0.5)
            elif name.endswith("gamma") or "norm" in name and "weight" in name:
                x.copy_(0.5 + 0.1 * noise)
            else:
                x.copy_(0.1 * noise)
    return module.eval()
