"""Loads a published network by name; the weight file is downloaded to a cache."""

from encnet_jax import config as config_lib
from encnet_jax import torch_weights
from encnet_jax.data import dataset_info
from encnet_jax.models.folding import fold_batch_norms
from encnet_jax.pods import parallel
from encnet_jax.scoring import protocols
from encnet_jax.tasks import network
from encnet_jax.tasks.network import Network
from encnet_jax.torch_weights import published, state_dicts
from encnet_jax.weights import cache


def read(name: str, fields: dict) -> Network:
    """Loads a published network; its variables are copied to the local devices.

    Args:
        name: name in `weights.PUBLISHED`; the weight file is downloaded if necessary.
        fields: changes to the configuration, such as {'eval.bucket': 32}.

    Raises:
        UserError: the name is unknown, the weights are those of a backbone without a
            segmentation head, or the download failed.
    """
    config = published.network_config(cache.find(name))
    config_lib.change(config, fields)
    config.eval.protocol = protocols.of_whole_images(config.eval.protocol)
    resolved = config_lib.resolve(config)
    state_dict = state_dicts.read(name)
    variables = torch_weights.convert(
        state_dict, resolved.model, dataset_info(resolved.data).num_classes
    )
    variables = fold_batch_norms(variables, resolved.model.norm_epsilon)
    return network.build(parallel.replicate(variables), resolved, step=0)
