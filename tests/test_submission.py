"""Archives for the test servers: ours pass the servers' checks, damaged ones do not."""

import io
import tarfile
import zipfile

import cityscapes_scores as kit
import numpy as np
import pytest
from PIL import Image

from encnet_jax.data.sets import named_info
from encnet_jax.data.sources.info import voc_colours
from encnet_jax.errors import UserError
from encnet_jax.evaluate import submission
from encnet_jax.scoring.metrics import ConfusionMatrix

# Source: cityscapesscripts, helpers/labels.py: the label id of each train id.
CITYSCAPES_IDS = np.array(
    [7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33]
)
SIZES = {"test_1": (30, 41), "test_2": (25, 20), "test_3": (7, 9)}
OUTPUTS = {
    "ade20k": "results.zip",
    "voc2012": "results.tgz",
    "cityscapes": "results.zip",
}


def predictions(server):
    rng = np.random.default_rng(0)
    for name, size in SIZES.items():
        ids = rng.integers(0, server.num_classes, size).astype(np.uint8)
        ids[0, :2] = 0, server.num_classes - 1
        yield name, ids


def contents(path):
    """Returns {name: bytes} of an archive."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            return {name: archive.read(name) for name in archive.namelist()}
    with tarfile.open(path) as archive:
        return {m.name: archive.extractfile(m).read() for m in archive.getmembers()}


def pack(path, files):
    """Writes {name: bytes} as an archive."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in files.items():
                archive.writestr(name, content)
        return
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def png(picture):
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture(params=list(OUTPUTS))
def written(request, tmp_path):
    """(server, path of an archive that passed)."""
    path = tmp_path / OUTPUTS[request.param]
    server = submission.find(request.param, str(path))[1]
    assert submission.write(server, str(path), predictions(server)) == 3
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    return server, path


def test_archives_contain_the_images_for_the_server(written):
    server, path = written
    submission.verify(server, str(path), SIZES)
    files = contents(path)
    assert set(files) == {f"{server.folder}{name}.png" for name in SIZES}
    for name, ids in predictions(server):
        with Image.open(io.BytesIO(files[f"{server.folder}{name}.png"])) as picture:
            values = np.asarray(picture)
            if server.name == "ade20k":
                assert picture.mode == "L" and values.min() == 1 and values.max() == 150
                np.testing.assert_array_equal(values, ids + 1)
            elif server.name == "cityscapes":
                assert picture.mode == "L" and values.min() == 7 and values.max() == 33
                np.testing.assert_array_equal(CITYSCAPES_IDS[ids], values)
            else:
                assert picture.mode == "P" and values.max() == 20
                colours = np.asarray(picture.convert("RGB"))
                np.testing.assert_array_equal(colours, voc_colours(21)[ids])
                np.testing.assert_array_equal(values, ids)


def test_cityscapesscripts_counts_as_we_do(tmp_path, capsys):
    """Its recorded counts of our archive; counted again if it is installed."""
    info, path = named_info("cityscapes"), tmp_path / "results.zip"
    server = submission.find("cityscapes", str(path))[1]
    matrix, predicted = ConfusionMatrix(19), []
    for number, name in enumerate(kit.NAMES):
        label = info.id_map[kit.label_ids(number)]
        predicted.append((name, kit.predicted(number, label)))
        matrix.update(label, predicted[-1][1])
    submission.write(server, str(path), predicted)
    expected = np.array([row.split() for row in kit.CONFUSION.split("\n")[1:-1]], int)
    np.testing.assert_array_equal(matrix.counts, expected)
    np.testing.assert_allclose(matrix.mean_iou("skip"), kit.MEAN_IOU, rtol=1e-12)
    try:
        import cityscapesscripts  # noqa: F401
    except ImportError:
        return
    kit.main(str(path))
    printed = f"MEAN_IOU = {kit.MEAN_IOU!r}\n{kit.CONFUSION.strip()}"
    assert printed in capsys.readouterr().out


def damaged(kind, server, files):
    """Returns (files with one mistake, the expected message)."""
    first = f"{server.folder}test_1.png"
    ids = dict(predictions(server))["test_1"]
    grey = Image.fromarray(np.array(server.values, np.uint8)[ids])
    if kind == "missing":
        return {
            n: c for n, c in files.items() if n != first
        }, "1 of [0-9]+ PNGs are missing, for example .*test_1.png"
    if kind == "elsewhere":
        moved = {f"other/{n}": c for n, c in files.items()}
        return moved, "no test image has this name"
    if kind == "colours":
        return files | {
            first: png(grey.convert("RGB"))
        }, "has 8 bits, RGB; expected 8 bits"
    if kind == "size":
        content = submission.encode(server, ids[:-1])
        return files | {first: content}, "is 41x29 pixels; expected .* 41x30"
    if kind == "range":
        high = ids.copy()
        high[0, 0] = server.num_classes
        content = submission.encode(server, high)
        return files | {first: content}, (
            f"has the value 255; expected one of the {server.num_classes} class values"
        )
    content = files[first]
    return files | {first: content[: len(content) // 2]}, "not a readable PNG"


@pytest.mark.parametrize(
    "kind", ["missing", "elsewhere", "colours", "size", "range", "cut off"]
)
def test_damaged_archives_are_refused(written, kind):
    server, path = written
    files, message = damaged(kind, server, contents(path))
    pack(path, files)
    with pytest.raises(UserError, match=message):
        submission.verify(server, str(path), SIZES)


def test_other_palettes_and_depths_are_refused(tmp_path):
    """Palettes as some programs save them: fewer colours, renumbered, 4 bits."""
    server = submission.servers()["voc2012"][1]
    ids = np.zeros((4, 4), np.uint8)
    path = tmp_path / "a.tgz"
    name = f"{server.folder}a.png"
    adaptive = Image.fromarray(ids)
    adaptive.putpalette(voc_colours(256)[::-1].tobytes())
    pack(path, {name: png(adaptive)})
    with pytest.raises(UserError, match="wrong palette"):
        submission.verify(server, str(path), {"a": (4, 4)})
    packed = Image.fromarray(ids)
    packed.putpalette(voc_colours(16).tobytes())
    pack(path, {name: png(packed)})
    with pytest.raises(UserError, match="has 4 bits, indexed; expected 8 bits"):
        submission.verify(server, str(path), {"a": (4, 4)})


def test_truncated_archives_are_refused(written):
    server, path = written
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(
        UserError, match="complete archive|not a readable PNG|are missing"
    ):
        submission.verify(server, str(path), SIZES)


def test_a_failed_archive_leaves_no_file(tmp_path):
    server = submission.servers()["ade20k"][1]
    path = tmp_path / "results.zip"
    too_high = [("a", np.full((3, 3), 150, np.uint8))]
    with pytest.raises(UserError, match="has the value 255; .* 150 .* from 1 to 150"):
        submission.write(server, str(path), too_high)
    assert not list(tmp_path.iterdir())


def test_unknown_servers_and_suffixes_are_refused():
    with pytest.raises(UserError, match="is .ade.; expected one of: ade20k"):
        submission.find("ade", "a.zip")
    with pytest.raises(UserError, match="voc2012 expects an archive whose"):
        submission.find("voc2012", "a.zip")
