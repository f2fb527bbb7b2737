"""Annotation files: read piece by piece, and their pixels."""

import io
import json
import os
import tarfile

import numpy as np
import pytest
from made_datasets import box, compressed, rectangle, run_lengths
from pycocotools import mask as coco_mask

from encnet_jax.data.archives.file_tree import FileTree
from encnet_jax.data.archives.instances import Annotations, Keys, decode_segmentation
from encnet_jax.data.archives.json_stream import array_items
from encnet_jax.errors import UserError

DOCUMENT = {
    "info": {"year": 2017, "note": 'a "quoted" ] brace }'},
    "count": 1234567,
    "empty": [],
    "images": [{"id": 1, "name": "caf\u00e9"}, {"id": 22, "list": [[1.5, -2e3], []]}],
    "numbers": [10, 2345, 6],
    "last": 98765,
}


@pytest.mark.parametrize("read_bytes", [1, 2, 7, 64, 1 << 20])
@pytest.mark.parametrize("indent", [None, 3])
@pytest.mark.parametrize("ascii", [True, False])
def test_arrays_are_read_in_pieces_of_any_size(read_bytes, indent, ascii):
    text = json.dumps(DOCUMENT, indent=indent, ensure_ascii=ascii).encode()
    found = {}
    for name, _, start, stop in array_items(
        io.BytesIO(text), "x.json", read_bytes=read_bytes
    ):
        found.setdefault(name, []).append(json.loads(text[start:stop]))
    assert found == {"images": DOCUMENT["images"], "numbers": DOCUMENT["numbers"]}


@pytest.mark.parametrize("cut", [0, 1, 30, 120, -1])
def test_a_truncated_file_is_reported(cut):
    text = json.dumps(DOCUMENT).encode()[:cut]
    with pytest.raises(UserError, match="json: not a complete JSON file, broken at"):
        list(array_items(io.BytesIO(text), "x.json", read_bytes=16))


def test_only_one_value_is_kept_in_memory():
    class Counting(io.BytesIO):
        largest = 0

        def read(self, size=-1):
            self.largest = max(self.largest, size)
            return super().read(size)

    many = {"images": [{"id": i, "pad": "x" * 50} for i in range(2000)]}
    file = Counting(json.dumps(many).encode())
    assert sum(1 for _ in array_items(file, "x.json", read_bytes=256)) == 2000
    assert file.largest <= 512


def shape():
    return 9, 7


def test_run_lengths_of_a_hand_made_mask():
    """Columns of 3: 0 1 1 | 1 0 0 | 0 0 1."""
    wanted = np.array([[0, 1, 0], [1, 0, 0], [1, 0, 1]], bool)
    counts = {"size": [3, 3], "counts": [1, 3, 4, 1]}
    np.testing.assert_array_equal(decode_segmentation(counts, 3, 3, "x"), wanted)
    assert run_lengths(wanted) == [1, 3, 4, 1]
    # 5 bits a character from '0' on; the fourth is less the second: 1 - 3 = -2.
    counts = {"size": [3, 3], "counts": "134N"}
    np.testing.assert_array_equal(decode_segmentation(counts, 3, 3, "x"), wanted)


def test_all_three_forms_agree():
    wanted = box(shape(), 2, 1, 8, 5)
    forms = [
        [rectangle(2, 1, 8, 5)],
        [rectangle(2, 1, 4, 5), rectangle(4, 1, 8, 5), [1, 1, 2, 2]],
        {"size": [9, 7], "counts": run_lengths(wanted)},
        compressed(wanted),
    ]
    for form in forms:
        np.testing.assert_array_equal(decode_segmentation(form, 9, 7, "x"), wanted)
    assert not decode_segmentation([], 9, 7, "x").any()


def test_run_lengths_of_another_image_are_refused():
    found = r"a.json: the segmentation has size \[9, 7\]; expected \[7, 9\], the size"
    with pytest.raises(UserError, match=found):
        decode_segmentation(compressed(box(shape(), 0, 0, 3, 3)), 7, 9, "a.json")


def test_annotations_keep_the_order_of_the_file(tmp_path):
    def annotation(image_id, category_id, size):
        mask = compressed(box(shape(), 0, 0, size, size))
        return {
            "id": size,
            "image_id": image_id,
            "category_id": category_id,
            "segmentation": mask,
        }

    images = [
        {"id": i, "file_name": f"{i}.jpg", "height": 9, "width": 7} for i in (5, 3, 4)
    ]
    document = {
        "annotations": [
            *(annotation(3, 8, 1), annotation(5, 2, 2), annotation(3, 1, 3)),
            *(annotation(3, 9, 4), annotation(99, 1, 5)),
        ],
        "images": images,
    }
    file = tmp_path / "a.json"
    file.write_text(json.dumps(document))
    with open(file, "rb") as opened:
        found = Annotations(
            opened, "a.json", Keys("annotations", "id"), lambda a: a["category_id"] < 9
        )
        assert found.annotated() == [3, 5]
        sizes = [(c, int(np.sqrt(m.sum()))) for c, m in found.of_image(3)]
    assert sizes == [(8, 1), (1, 3)]


def _images(**changed):
    image = {"id": 1, "file_name": "a.jpg", "height": 9, "width": 7}
    return json.dumps({"images": [image | changed]})


def test_a_file_of_another_kind_is_refused(tmp_path):
    for text, message in (
        ('{"images": []}', "the list 'images' is missing or empty"),
        ('{"images": [{"id": 1}]}', "list 'images' is damaged .file_name is missing"),
        ('{"images": [[]]}', "list 'images' is damaged .it is list"),
        (_images(id=[1]), "id is list; expected a whole number or a text"),
        (_images(height=-1), "height is -1; expected a whole number from 1"),
        (_images(file_name=3), "file_name is 3; expected a text"),
        ('{"annotations": [3]}', "list 'annotations' is damaged .it is 3"),
        ('{"annotations": [{"image_id": 1}]}', "category_id is missing"),
        ('{"annotations": ' + "[" * 100_000, "not a complete JSON file"),
    ):
        file = io.BytesIO(text.encode())
        with pytest.raises(UserError, match=f"a.json: .*{message}"):
            Annotations(file, "a.json", Keys("annotations", "id"), lambda a: True)


def test_the_compressed_form_made_here_is_cocos():
    mask = box(shape(), 1, 2, 7, 6)
    assert coco_mask.area(compressed(mask)) == 24


def test_files_of_a_refused_source_are_closed(tmp_path):
    """Also those of an archive that was opened before a damaged one."""
    for name, kind in (("a.tar", "w"), ("b.tar.gz", "w:gz")):
        with tarfile.open(tmp_path / name, kind) as tar:
            tar.add(__file__, "x/list.json")
    opened = len(os.listdir("/proc/self/fd"))
    with FileTree(tmp_path) as tree:
        for _ in range(2):
            tree.local(tree.file("list.json"))
        assert len(os.listdir("/proc/self/fd")) == opened + 4
    assert len(os.listdir("/proc/self/fd")) == opened
    (tmp_path / "c.tar.gz").write_bytes(b"\x1f\x8bdamaged")
    with pytest.raises(UserError, match="c.tar.gz: cannot be read"):
        FileTree(tmp_path)
    assert len(os.listdir("/proc/self/fd")) == opened


@pytest.mark.parametrize(
    "segmentation, says",
    [
        ([[0, 0, float("nan"), 5, 5, 5]], "a coordinate is not a number"),
        ([[0, 0, 1e9, 5, 5, 5]], "a coordinate is not a number from -131072 to 131072"),
        ([[0, 0, "a", 5, 5, 5]], "a coordinate is not a number"),
        ({"size": [9, 7], "counts": [100, -37]}, "a run length is not a whole number"),
        ({"size": [9, 7], "counts": [62.0, 1]}, "a run length is not a whole number"),
    ],
)
def test_numbers_that_would_end_the_process_are_refused(segmentation, says):
    with pytest.raises(UserError, match=f"a.json: the segmentation .*{says}"):
        decode_segmentation(segmentation, 9, 7, "a.json")
