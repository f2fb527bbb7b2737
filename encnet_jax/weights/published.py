"""What is known about one published weight file."""

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

from encnet_jax.registry import Registry


@dataclasses.dataclass(frozen=True)
class Published:
    """One file, as its publisher describes it.

    Attributes:
        name: 'publisher:model'.
        address: of the file.
        family: of `encnet_jax.torch_weights`, whose names the file has.
        fields: configuration fields that a network with these weights has.
        licence: as published; 'not stated' if it is not.
        score: published score with its protocol, or where to read it.
        source: where address, digest, size, licence and score are published.
        digest: first digits of the SHA-256 of the file; 'sha1:' and the first digits of
            the SHA-1 of the .pth inside for a zip of the authors; '' if none is
            published.
        size_mib: size of the download; None if it is not published.
        dataset: `data.name` of a whole network; '' for a backbone.
        checked: whether the address was seen to answer while this was written.
        gone: whether users report that the address no longer answers; the entry is for
            people who have the file.
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
        """File in the cache, named as in the address if that is unique."""
        name = self.address.rpartition("/")[2]
        if re.search(r"[0-9a-f]{8}\.\w+$", name) or self.dataset:
            return name
        suffix = name.rpartition(".")[2]
        return f"{re.sub(r'[^A-Za-z0-9._-]', '-', self.name)}.{suffix}"

    @property
    def size(self) -> str:
        """Size for messages."""
        return "size not published" if self.size_mib is None else f"{self.size_mib} MiB"


PUBLISHED: Registry[Published] = Registry("name of published weights")


def register(*entries: Published) -> None:
    """Registers the files of a publisher by their names."""
    for entry in entries:
        PUBLISHED.register(entry.name, entry)
