"""Descriptions of published weight files."""

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

from encnet_jax.registry import Registry


@dataclasses.dataclass(frozen=True)
class Published:
    """Description of one published weight file.

    Attributes:
        name: 'publisher:model', such as 'timm:resnet50d'.
        address: URL of the file.
        family: naming scheme of the parameters; see `encnet_jax.torch_weights`.
        fields: {configuration field: value that these weights require}.
        licence: licence as published; 'not stated' if none is published.
        score: published score and evaluation protocol, or where to find the score.
        source: where the address, digest, size, licence and score are published.
        digest: first digits of the file's SHA-256. For a zip of the authors: 'sha1:'
            and the first digits of the SHA-1 of the .pth file in the zip. '' if no
            digest is published.
        size_mib: size of the file in MiB; None if not published.
        dataset: `data.name` of the network's data set; '' for a backbone.
        checked: whether the address worked when this entry was written.
        gone: whether users report that the address no longer works. Such an entry is
            for users who already have the file.
    """

    name: str
    address: str
    family: str
    fields: Mapping[str, Any]
    licence: str
    score: str
    source: str
    digest: str = ""
    size_mib: float | None = None
    dataset: str = ""
    checked: bool = False
    gone: bool = False

    @property
    def file_name(self) -> str:
        """Name of the file in the cache.

        Files of whole networks, and files with a digest in the URL, keep the file name
        in the URL. Other files are named after `name`.
        """
        name = self.address.rpartition("/")[2]
        if re.search(r"[0-9a-f]{8}\.\w+$", name) or self.dataset:
            return name
        suffix = name.rpartition(".")[2]
        return f"{re.sub(r'[^A-Za-z0-9._-]', '-', self.name)}.{suffix}"

    @property
    def size(self) -> str:
        """Size of the file as text, for messages."""
        return "size not published" if self.size_mib is None else f"{self.size_mib} MiB"


PUBLISHED: Registry[Published] = Registry("name of published weights")


def register(*entries: Published) -> None:
    """Adds descriptions of weight files to PUBLISHED."""
    for entry in entries:
        PUBLISHED.register(entry.name, entry)
