"""EncNet's head and the auxiliary head of the paper's Figure 3."""

from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from encnet_jax.models.context import ContextEncoding
from encnet_jax.models.heads import AUX_HEADS, HEADS
from encnet_jax.models.heads.classifier import Classifier
from encnet_jax.models.layers import Layers


class EncHead(nn.Module):
    """EncNet's head: 3x3 convolution, Context Encoding Module, classifier.

    Attributes:
        channels: channels of the 3x3 convolution; 512 in the paper.
        lateral: whether the Context Encoding Module also reads stages 2 and 3; requires
            output stride 8.
        num_codes, code_pooling, gate, gate_bias, se_gradient, reference_positions: see
            ContextEncoding.
        se_loss: whether to return logits of class presence.

    Source: Figure 2 of the paper; lateral connections from the released code.
    """

    num_classes: int
    layers: Layers
    channels: int = 512
    lateral: bool = False
    num_codes: int = 32
    code_pooling: str = "sum"
    gate: str = "scale"
    gate_bias: float = 0.0
    se_loss: bool = True
    se_gradient: bool = True
    reference_positions: int = 0
    dropout: float = 0.1

    @nn.compact
    def __call__(self, stages: dict[str, jax.Array]) -> dict[str, jax.Array]:
        """Returns the class logits of each position and of the whole image.

        Args:
            stages: {name: feature map [B, h, w, D]} for 'stage4' and, if `lateral` is
                set, for 'stage2' and 'stage3'.

        Returns:
            {'logits': f32[B, h, w, num_classes], 'se_logits': f32[B, num_classes]};
            'se_logits' only if `se_loss` is set.
        """
        x = self.layers.unit(self.channels, name="conv")(stages["stage4"])
        if self.lateral:
            x = self._fuse(x, stages)
        context = ContextEncoding(
            num_codes=self.num_codes,
            code_pooling=self.code_pooling,
            gate=self.gate,
            gate_bias=self.gate_bias,
            se_classes=self.num_classes if self.se_loss else 0,
            se_gradient=self.se_gradient,
            reference_positions=self.reference_positions,
            layers=self.layers,
            name="context",
        )(x)
        classifier = Classifier(
            self.num_classes, self.dropout, self.layers, name="classifier"
        )
        return {"logits": classifier(context.pop("features")), **context}

    def _fuse(self, x: jax.Array, stages: dict[str, jax.Array]) -> jax.Array:
        branches = [x]
        for stage in ("stage2", "stage3"):
            lateral = self.layers.unit(self.channels, 1, name=f"lateral_{stage}")
            branches.append(lateral(stages[stage]))
        joined = jnp.concatenate(branches, axis=-1)
        return self.layers.unit(self.channels, name="fusion")(joined)


class ContextAuxHead(nn.Module):
    """An auxiliary head: the SE branch of a Context Encoding Module on stage 3.

    Source: section 2.1 of the paper, which does not report the number of channels; the
    default of 256 is our choice.
    """

    num_classes: int
    layers: Layers
    channels: int = 256
    num_codes: int = 32
    code_pooling: str = "sum"
    se_gradient: bool = True
    reference_positions: int = 0

    @nn.compact
    def __call__(self, stages: dict[str, jax.Array]) -> dict[str, jax.Array]:
        """Maps stage 3 [B, h, w, D] to {'se_logits': f32[B, num_classes]}."""
        x = self.layers.unit(self.channels, name="conv")(stages["stage3"])
        return ContextEncoding(
            num_codes=self.num_codes,
            code_pooling=self.code_pooling,
            gate="none",
            se_classes=self.num_classes,
            se_gradient=self.se_gradient,
            reference_positions=self.reference_positions,
            layers=self.layers,
            name="context",
        )(x)


@HEADS.register("encnet")
def build(m, num_classes: int) -> Callable[..., nn.Module]:
    """Returns the constructor of an EncHead with the options of `config.model`."""
    return partial(
        EncHead,
        num_classes,
        channels=m.head_channels,
        dropout=m.dropout,
        lateral=m.lateral,
        gate=m.gate,
        gate_bias=m.gate_bias,
        se_loss=m.se_loss,
        **_encoding_fields(m),
    )


@AUX_HEADS.register("context")
def build_auxiliary(m, num_classes: int) -> Callable[..., nn.Module] | None:
    """Returns the constructor of a ContextAuxHead with the options of `config.model`.

    Returns None if `model.se_loss` is False, because only the SE loss uses the output
    of this head.
    """
    if not m.se_loss:
        return None
    return partial(
        ContextAuxHead, num_classes, channels=m.aux_channels, **_encoding_fields(m)
    )


def _encoding_fields(m) -> dict[str, Any]:
    return {
        "num_codes": m.num_codes,
        "code_pooling": m.code_pooling,
        "se_gradient": m.se_gradient,
        "reference_positions": m.reference_positions or 0,
    }
