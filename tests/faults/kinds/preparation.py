"""Archives that prepare is given: bombs, loops, damage, names that climb."""

import io
import os
import pathlib
import shutil
import tarfile
import zipfile

from fixtures import PREPARE, command
from PIL import Image
from registry import case


def prepared(root, name: str, source) -> list[str]:
    return command(PREPARE, name, f"--source={source}", f"--data_dir={root}/d")


def nothing_made(root) -> None:
    assert not list((root / "d").rglob("*.array_record*"))


@case("20 links to itself, prepare", 2, "expected folders train and trainannot")
def loops(root):
    (root / "s").mkdir()
    for name in ("a", "b"):
        (root / "s" / name).symlink_to(".")
    yield prepared(root, "camvid", root / "s")


@case("18 zip bomb, prepare", 2, "raise the limit with --max_file_mib")
def zip_bomb(root):
    with zipfile.ZipFile(root / "b.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for folder, end in (("train", "jpg"), ("trainannot", "png")):
            with archive.open(f"CamVid/{folder}/a.{end}", "w", force_zip64=True) as out:
                for _ in range(300):
                    out.write(bytes(1 << 20))
    yield prepared(root, "camvid", root / "b.zip")
    nothing_made(root)


def camvid(root: pathlib.Path) -> pathlib.Path:
    """Writes a small CamVid; returns its folder."""
    for split in ("train", "val"):
        for folder in (split, f"{split}annot"):
            (root / "s/CamVid" / folder).mkdir(parents=True, exist_ok=True)
            for i in range(2):
                picture = Image.new("L", (32, 24), i)
                picture.save(root / "s/CamVid" / folder / f"{i}.png")
    return root / "s"


def archive(root: pathlib.Path, kind: str) -> pathlib.Path:
    """Returns an archive of a small CamVid."""
    return pathlib.Path(shutil.make_archive(str(root / "a"), kind, camvid(root)))


def damaged_archive(name: str, kind: str, says: str, damage) -> None:
    @case(f"new {name}, prepare", 2, says)
    def run(root):
        path = archive(root, kind)
        path.write_bytes(damage(path.read_bytes()))
        yield prepared(root, "camvid", path)
        nothing_made(root)


damaged_archive("truncated zip", "zip", "cannot be read", lambda x: x[: len(x) // 2])
damaged_archive("truncated tar", "tar", "", lambda x: x[:1500])
damaged_archive("truncated tar.gz", "gztar", "cannot be read", lambda x: x[:-40])
damaged_archive("text called .zip", "zip", "cannot be read", lambda _: b"text")
damaged_archive("no bytes called .tar", "tar", "cannot be read", lambda _: b"")


@case("20 a broken LZMA member of a zip, prepare", 2, "a.zip")
def broken_lzma(root):
    camvid(root)
    with zipfile.ZipFile(root / "a.zip", "w", zipfile.ZIP_LZMA) as target:
        for path in (root / "s").rglob("*.png"):
            target.write(path, path.relative_to(root / "s"))
        first = target.infolist()[0]
    content = bytearray((root / "a.zip").read_bytes())
    start = first.header_offset + 30 + len(first.filename)
    content[start + 9 : start + 20] = b"\xff" * 11
    (root / "a.zip").write_bytes(content)
    yield prepared(root, "camvid", root / "a.zip")
    nothing_made(root)


@case("held a zip whose names climb, prepare", (0, 2), "")
def climbing(root):
    path = archive(root, "zip")
    with zipfile.ZipFile(path, "a") as target:
        target.writestr("../../escaped.png", b"x")
        target.writestr(f"{root}/absolute.png", b"x")
    yield prepared(root, "camvid", path)
    assert not (root / "absolute.png").exists()
    assert not (root.parent / "escaped.png").exists()


@case("held a tar of links and a device, prepare", (0, 2), "")
def links(root):
    camvid(root)
    (root / "secret").write_text("secret")
    with tarfile.open(root / "a.tar", "w") as target:
        target.add(root / "s/CamVid", "CamVid")
        for name, kind in (
            ("x", tarfile.SYMTYPE),
            ("y", tarfile.LNKTYPE),
            ("z", tarfile.CHRTYPE),
        ):
            member = tarfile.TarInfo(f"CamVid/train/{name}.png")
            member.type, member.linkname = kind, str(root / "secret")
            target.addfile(member, io.BytesIO())
    yield prepared(root, "camvid", root / "a.tar")
    found = [p for p in (root / "d").rglob("*") if p.is_symlink() or not p.exists()]
    assert not found
    assert (root / "secret").read_text() == "secret"
    assert not [p for p in os.listdir(root) if p.endswith(".png")]
