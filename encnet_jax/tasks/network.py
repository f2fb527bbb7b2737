"""A trained network, the input of evaluation, prediction and export."""

from typing import NamedTuple

import flax.linen as nn

from encnet_jax.config import Config
from encnet_jax.data import DatasetInfo, dataset_info
from encnet_jax.models.folding import transform_kernels
from encnet_jax.scoring.forward import Forward
from encnet_jax.tasks import of
from encnet_jax.tasks.task import Task


class Network(NamedTuple):
    """A trained network: its module, variables and configuration.

    Attributes:
        task: segmentation or classification, see tasks.Task.
        model: Flax module whose batch norms are not synchronised over devices.
        variables: {'params', 'batch_stats'}, as JAX arrays that are replicated on the
            local devices, or as NumPy arrays.
        info: description of the data set on which the network was trained.
        config: resolved configuration.
        step: step of the checkpoint that contained the variables.
    """

    task: Task
    model: nn.Module
    variables: dict
    info: DatasetInfo
    config: Config
    step: int

    def prepared(self) -> dict:
        """Returns the variables, converted for faster prediction.

        The converted variables must not be trained or saved.
        """
        return transform_kernels(self.model, self.variables)

    def evaluator(self, **options):
        """Returns an evaluator for this network; see scoring.evaluator.

        Args:
            options: keyword arguments of task.make_evaluator, such as with_calibration.
                The default protocol is that in field eval.protocol.
        """
        return self.task.make_evaluator(self.model, self.info.num_classes, **options)

    def forward(self) -> Forward:
        """Returns the forward pass; only segmentation networks are supported."""
        return Forward.of(
            self.model,
            self.info.num_classes,
            self.task.normalise,
            self.config.model,
            self.config.data.input_scale,
        )


def build(variables: dict, config: Config, step: int) -> Network:
    """Builds the network of a resolved configuration with trained variables.

    Args:
        variables: trained {'params', 'batch_stats'}, see Network.
        config: resolved configuration.
        step: step of the checkpoint that contained the variables.
    """
    task, info = of(config), dataset_info(config.data)
    model = task.build_model(info.num_classes, None)
    return Network(task, model, variables, info, config, step)
