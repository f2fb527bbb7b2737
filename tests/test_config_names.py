"""Configurations by name, in any folder; copies of them to edit."""

import importlib.metadata
import pathlib

import pytest

from encnet_jax import cli
from encnet_jax import config as config_lib
from encnet_jax.cli import CommandLine
from encnet_jax.config import __main__ as config_command
from encnet_jax.config import files
from encnet_jax.errors import UserError


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_a_name_is_found_in_an_empty_folder(request):
    path, arguments = config_lib.split_spec("ade20k:paper,resnet101")
    assert path == request.config.rootpath / "configs" / "ade20k.py"
    assert arguments == "paper,resnet101"
    config = config_lib.load("ade20k:paper,resnet101")
    assert (config.architecture, config.model.backbone) == ("paper", "resnet101")


def test_a_flag_takes_a_name_and_overrides():
    for words in (["--config", "camvid:fcn"], ["--config=camvid:fcn"]):
        line = CommandLine(["train", *words, "--config.seed=3"], "Trains.")
        line.config(required=True)
        values = line.parse()
        assert (values.config.model.name, values.config.seed) == ("fcn", 3)
        assert cli.config_name(values) == "camvid-fcn"


def test_the_current_folder_comes_first():
    pathlib.Path("configs").mkdir()
    mine = pathlib.Path("configs/ade20k.py")
    mine.write_text("def get_config(arguments=''):\n    return 'mine'\n")
    assert config_lib.load("ade20k") == "mine"
    pathlib.Path("camvid").write_text("a file of this name")
    assert config_lib.split_spec("camvid")[0] == pathlib.Path("camvid").resolve()


def test_an_installed_package_has_its_configurations(monkeypatch, tmp_path):
    folder = tmp_path / "share" / "encnet_jax" / "configs"
    folder.mkdir(parents=True)
    (folder / "other.py").write_text("def get_config(arguments=''):\n    return 5\n")

    class File(pathlib.PurePosixPath):
        def locate(self):
            return tmp_path / self.relative_to("../../..")

    listed = ["../../../share/encnet_jax/configs/other.py", "../../../bin/encnet"]
    monkeypatch.setattr(
        importlib.metadata, "files", lambda name: [File(x) for x in listed]
    )
    assert files.named()["other"] == folder / "other.py"
    assert config_lib.load("other") == 5


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(UserError, match="no configuration ade20; .*: ade20k, camvid,"):
        config_lib.split_spec("ade20")


def run(*words):
    return cli.run(config_command.main, ["config", *words])


def test_a_configuration_is_copied_to_be_edited(capsys, request):
    assert run("--copy", "ade20k", "mine.py") in (0, None)
    source = request.config.rootpath / "configs" / "ade20k.py"
    assert pathlib.Path("mine.py").read_bytes() == source.read_bytes()
    assert "wrote mine.py" in capsys.readouterr().out
    assert run("--copy", "ade20k", "mine.py") == 2
    assert "mine.py already exists" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--copy", "ade20k"], "expected --copy NAME FILE.py"),
        (["--copy", "ade20k:fcn", "mine.py"], "remove ':fcn'"),
        (["--copy", "nosuch", "mine.py"], "no configuration nosuch"),
        (["--copy", "ade20k", "mine.txt"], "a name that ends with .py"),
        (["--copy", "ade20k", "no/mine.py"], "the folder no does not exist"),
    ],
)
def test_wrong_arguments_of_copy_are_reported_in_one_line(words, message, capsys):
    assert run(*words) == 2
    assert message in capsys.readouterr().err
    assert not list(pathlib.Path().iterdir())
