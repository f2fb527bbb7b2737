"""Private, undocumented or deprecated names of libraries that the package uses.

A failure names the file that uses the name, and what to do there.
"""

import importlib
import inspect
import pathlib
import re

import pytest

EVENTS = (
    "encnet_jax/train/event_file.py writes TensorBoard files with it, in the calling"
    " thread. Look for its new name or arguments in tensorboardX; otherwise frame"
    " `event_pb2.Event` records there, as encnet_jax/storage/tfrecord.py reads them,"
    " with masked CRC-32C checksums"
)
WRITER = (
    "encnet_jax/checkpoints/orbax.py, the only module that imports Orbax, writes"
    " checkpoints with it. Orbax 1.0 keeps what `orbax.checkpoint.v1` has: write with"
    " `v1.training.Checkpointer` there, and check with `tests/test_distributed.py` and"
    " `tests/faults/table.py --only lost` that a failed write of one process does not"
    " block the others"
)
READER = (
    "encnet_jax/checkpoints/orbax.py, the only module that imports Orbax, reads"
    " checkpoints with it. From Orbax 1.0 on it is in `orbax.checkpoint` itself"
)
NAMES = {
    "tensorboardX.event_file_writer:EventsWriter": (
        ["file_prefix", "filename_suffix"],
        EVENTS,
    ),
    "tensorboardX.event_file_writer:EventsWriter.write_event": (["event"], EVENTS),
    "tensorboardX.event_file_writer:EventsWriter.flush": ([], EVENTS),
    "tensorboardX.event_file_writer:EventsWriter.close": ([], EVENTS),
    "tensorboardX.record_writer:register_writer_factory": (
        ["prefix", "factory"],
        EVENTS,
    ),
    "tensorboardX.record_writer:directory_check": (["path"], EVENTS),
    "tensorboardX.summary:scalar": (["name", "scalar"], EVENTS),
    "tensorboardX.summary:image": (["tag", "tensor", "dataformats"], EVENTS),
    "tensorboardX.proto.event_pb2:Event": ([], EVENTS),
    "orbax.checkpoint:CheckpointManager.reached_preemption": (["step"], WRITER),
    "orbax.checkpoint:CheckpointManager.metrics": (["step"], WRITER),
    "orbax.checkpoint:CheckpointManager.reload": ([], WRITER),
    "orbax.checkpoint:CheckpointManager.save": (["step", "args"], WRITER),
    "orbax.checkpoint:AsyncOptions": (
        ["post_finalization_callback", "barrier_sync_fn"],
        WRITER,
    ),
    "orbax.checkpoint:CheckpointManagerOptions": (
        ["async_options", "preservation_policy", "cleanup_tmp_directories"],
        WRITER,
    ),
    "orbax.checkpoint:multihost.get_barrier_sync_fn": ([], WRITER),
    "orbax.checkpoint:args.Composite": ([], WRITER),
    "orbax.checkpoint:args.StandardSave": ([], WRITER),
    "orbax.checkpoint:args.JsonSave": ([], WRITER),
    "orbax.checkpoint:utils.is_tmp_checkpoint": ([], WRITER),
    "orbax.checkpoint:v1.load_checkpointables": (
        ["path", "abstract_checkpointables"],
        READER,
    ),
    "orbax.checkpoint:v1.checkpointables_metadata": (["path"], READER),
}


PACKAGE = pathlib.Path(__file__).parent.parent / "encnet_jax"


def test_one_module_imports_orbax():
    files = [path for path in PACKAGE.rglob("*.py") if path.name != "orbax.py"]
    found = [
        str(path.relative_to(PACKAGE))
        for path in files
        if re.search(r"^\s*(import|from) orbax", path.read_text(), re.MULTILINE)
    ]
    assert len(files) > 250 and not found, READER


@pytest.mark.parametrize("name", NAMES)
def test_a_name_of_a_library_is_still_there(name):
    arguments, advice = NAMES[name]
    module, _, path = name.partition(":")
    found = importlib.import_module(module)
    for part in path.split("."):
        found = getattr(found, part, None)
        assert found is not None, f"{name} is missing. {advice}"
    if arguments:
        known = inspect.signature(found).parameters
        missing = [argument for argument in arguments if argument not in known]
        assert not missing, f"{name} does not accept {missing}. {advice}"


@pytest.mark.tf
def test_tfds_limits_its_buffer_by_a_name_that_can_be_set():
    shuffle = importlib.import_module("tensorflow_datasets.core.shuffle")
    used = inspect.getsource(shuffle.Shuffler).count("MAX_MEM_BUFFER_SIZE")
    assert used and isinstance(shuffle.MAX_MEM_BUFFER_SIZE, int), (
        "encnet_jax/data/prepare/writer.py sets MAX_MEM_BUFFER_SIZE of"
        " tensorflow_datasets.core.shuffle, so that preparation does not keep up to"
        " 1 GiB of records in memory. Look for the new name of the limit there; without"
        " one, remove the assignment and state the memory in docs/datasets.md"
    )
