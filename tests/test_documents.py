"""Every command line of the documents, parsed by the command's own parser.

The flags, configurations, fields, weights, protocols and runs that a command names must
exist. Nothing is run here: tests/test_day_one.py, test_wheel.py, test_notebook.py and
test_extending.py run commands. NOT_PARSED lists the others, with the reason.
"""

import argparse
import functools
import importlib
import os
import pathlib
import re
import shlex
import tomllib

import pytest

from encnet_jax import cli, commands, sweep
from encnet_jax import config as config_lib
from encnet_jax.errors import UserError
from encnet_jax.evaluate.submission import servers
from encnet_jax.scoring.protocols import PROTOCOLS
from encnet_jax.weights import PUBLISHED

ROOT = pathlib.Path(__file__).parents[1]
DOCUMENTS = (
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").glob("*.md")),
)
PROGRAMS = {"python", "encnet", "pip", "make", "gcloud", "tensorboard", "tfds"}
# Commands that no parser here reads: {pattern: why}.
NOT_PARSED = {
    r"gcloud ": "needs a Google Cloud project",
    r"pip install (huggingface_hub|gcsfs|s3fs|jax)": "other projects' packages",
    r"(tensorboard|tfds) ": "another project's program",
    r"python -m pytest ": "another project's program",
    r"encnet --version": "no command; test_cli.py runs it",
    r".*mine\.py.*--protocol mirrored": "test_extending.py runs this page",
    r".* \.\.\.": "abridged; the document has the whole command elsewhere",
    r".* \$@": "passes on the arguments of a script",
}
# Names that the reader replaces, and an example for each.
PLACEHOLDERS = {
    "configs/X.py": "configs/quickstart.py",
    "configs/NAME.py": "configs/quickstart.py",
    "configs/cifar10.py:MODEL": "configs/cifar10.py:resnet64d",
    "cifar10.py:$model": "cifar10.py:se_resnet64d",
    "CONFIG": "configs/ade20k.py",
    "--config.field=value": "--config.seed=1",
    "--config.FIELD=VALUE": "--config.seed=1",
    "FIELD": "train.batch_size",
    "STEPS": "50",
    "F": "seed",
    "A,B": "0,1",
    "NAME": "camvid",
    "I": "0",
    "P": "single",
}
SHELL = {"", "sh", "bash"}
# Runs that `make demo` and other projects' files make.
OTHER_RUNS = {"runs/demo", "runs/demo-fcn", "runs/voc-after-coco", "runs/cifar"}


class Parsed(Exception):
    """Raised in place of what a command does after it has parsed its flags."""


@functools.cache
def variables():
    """Returns {pattern: value} of the variables that the documents define."""
    found = {}
    for path in DOCUMENTS:
        text = path.read_text()
        for name, value in re.findall(r"^(R\d+)=(\S+)", text, re.M):
            found[rf"\${name}\b"] = value
        for name, value in re.findall(r"`(CITY)` is\s+`([^`]+)`", text):
            found[rf"^{name}(?![/\w])"] = value
    return found


@functools.cache
def lines_of(path):
    """Returns [(a line, whether it is in a block)] of a document's code."""
    parts = re.split(r"^ *```(.*)\n", path.read_text(), flags=re.M)
    fenced = zip(parts[1::4], parts[2::4], strict=True)
    prose = "".join(parts[0::4])
    shell = [block for info, block in fenced if info in SHELL]
    shell += re.findall(r"^ {4,}\S.*(?:\\\n.*)*", prose, re.M)
    lines = [*re.sub(r"\\\n\s*", " ", "\n".join(shell)).splitlines()]
    inline = [" ".join(x.split()) for x in re.findall(r"`([^`]+)`", prose)]
    found = []
    for line, in_block in [(x, True) for x in lines] + [(x, False) for x in inline]:
        for pattern, value in variables().items():
            line = re.sub(pattern, value, line)
        found.append((line, in_block))
    return found


def words_of(line):
    """Yields the words of each command in a line that PROGRAMS names."""
    if line.startswith("on_all "):
        line = shlex.split(line)[1]
    # Of alternatives in a table, the first.
    line = re.sub(r"\\\|(--\w+ )?\w+", "", line)
    line = re.sub(r"\[:arguments\]|,\.\.\.| \[NAME\]", "", line)
    line = re.sub(r" \[(--.*?)\]", r" \1", line)
    reader = shlex.shlex(line, posix=True, punctuation_chars=";&|<>")
    reader.whitespace_split = True
    segments = [[]]
    for word in reader:
        if set(word) <= set(";&|<>"):
            segments.append([])
        else:
            segments[-1].append(word)
    for words in segments:
        names = [pathlib.PurePath(word).name for word in words]
        at = next((i for i, name in enumerate(names) if name in PROGRAMS), None)
        if at is not None and words[at + 1 :]:
            yield (names[at], *map(placed, words[at + 1 :]))
        elif re.match(r"(train|eval|predict)\.py ", line):
            yield ("python", *map(placed, words))
        elif re.fullmatch(r"configs/\w+\.py(:[\w,]+)?", line):
            yield ("python", "-m", "encnet_jax.config", placed(line))


def placed(word):
    """Returns a word with an example in place of what the reader replaces."""
    for name, value in PLACEHOLDERS.items():
        word = re.sub(rf"(?<![\w.$-]){re.escape(name)}(?![\w/])", value, word)
    return word


@functools.cache
def commands_of(path):
    """Returns [(words, whether they are in a block)] of a document, each once."""
    found = {}
    for line, in_block in lines_of(path):
        start = pathlib.PurePath(line.split(" ")[0]).name
        if in_block or start in PROGRAMS or start.partition(":")[0].endswith(".py"):
            try:
                for words in words_of(line):
                    found[words] = found.get(words, False) or in_block
            except ValueError:  # Unbalanced quotes: output, or part of a script.
                assert start not in PROGRAMS, f"{path.name}: {line}"
    return list(found.items())


def reasons(words):
    """Returns the patterns of NOT_PARSED that match a command."""
    return [pattern for pattern in NOT_PARSED if re.match(pattern, " ".join(words))]


def main_of(name):
    module = importlib.import_module(name)
    if hasattr(module, "__path__"):
        module = importlib.import_module(f"{name}.__main__")
    return module.main


def parse(words, patch):
    """Calls a command up to its parser; returns the values, None after --help."""
    program, first, *rest = words
    if program == "encnet":
        main, argv = commands.main, ["encnet", first, *rest]
    elif first == "-m":
        main, argv = main_of(rest[0]), [f"python -m {rest[0]}", *rest[1:]]
    else:
        name = pathlib.PurePath(first).stem
        main, argv = main_of(f"encnet_jax.commands.{name}"), [first, *rest]
    patch.setattr("sys.argv", argv)
    try:
        main() if "benchmarks" in argv[0] else main(argv)
    except Parsed as parsed:
        return parsed.args[0]
    except SystemExit as stop:
        assert stop.code in (0, None), "the parser refuses the flags"
    return None


def check_values(values):
    """Checks what a command would only look up after parsing."""
    known = {"protocol": PROTOCOLS, "submission": servers(), "weights": PUBLISHED}
    for flag, names in known.items():
        if flag in values and values[flag].value:
            assert values[flag].value in names, values[flag].value
    if "config" not in values or not values["config"].present:
        return
    if "field" not in values:
        config_lib.resolve(values.config, config_lib.Facts(10_000))
        return
    for value in sweep.parse_values(values["values"].value):
        changed = config_lib.with_value(values.config, values.field, value)
        config_lib.resolve(changed, config_lib.Facts(10_000))


def check_other(program, rest):
    """Checks a call of pip or make."""
    if program == "make":
        targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.M)
        assert set(rest) <= set(targets), rest
        return
    tool = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]
    extras = tool["setuptools"]["dynamic"]["optional-dependencies"]
    for word in rest:
        if word.startswith("requirements"):
            assert (ROOT / word).is_file(), word
        if word.startswith(".["):
            assert set(word[2:-1].split(",")) <= set(extras), word


def checked(words, in_block, folder, patch):
    """Returns a command's parsed values, if there are any, after all checks.

    Raises:
        UserError, AssertionError, ImportError: it cannot be run as written.
    """
    if words[0] in ("pip", "make"):
        return check_other(words[0], words[1:])
    if words[1].endswith(".py") and "/" in words[1]:
        assert (ROOT / words[1]).is_file(), words[1]
        return None
    modules = 2 if words[1] == "-m" else 1
    if not in_block and len(words) == modules + 1:
        words = (*words, "--help")  # A command's name in a sentence.
    # The installed command works in any folder; the others are run in a clone.
    patch.chdir(folder if words[0] == "encnet" else folder / "clone")
    values = parse(words, patch)
    if values is not None and "benchmarks.learning" in words:
        rows = importlib.import_module("benchmarks.learning").RUNS
        assert set(filter(None, values["runs"].split(","))) <= set(rows)
    elif values is not None and not isinstance(values, dict):
        check_values(values)
    return values


@pytest.fixture(scope="module")
def parsed(tmp_path_factory):
    """Returns {document: [(words, parsed values, fault)]}."""
    folder = tmp_path_factory.mktemp("documents")
    (folder / "clone").mkdir()
    (folder / "clone" / "configs").symlink_to(ROOT / "configs")
    for place in (folder, folder / "clone"):  # As docs/own_data.md says.
        text = (ROOT / "configs" / "folder.py").read_text()
        (place / "mine.py").write_text(text)
    ours, others = cli.CommandLine.parse, argparse.ArgumentParser.parse_known_args

    def parse_ours(self, loads_jax=True):
        raise Parsed(ours(self, loads_jax=False))

    def parse_others(self, args=None, namespace=None):
        values, rest = others(self, args, namespace)
        assert not rest, f"no such flags: {rest}"
        raise Parsed(vars(values))

    found = {path: [] for path in DOCUMENTS}
    environment = dict(os.environ)  # Some benchmarks change it when imported.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cli.CommandLine, "parse", parse_ours)
        patch.setattr(argparse.ArgumentParser, "parse_known_args", parse_others)
        for path in DOCUMENTS:
            for words, in_block in commands_of(path):
                if not reasons(words):
                    values, fault = None, ""
                    try:
                        values = checked(words, in_block, folder, patch)
                    except (UserError, AssertionError, ImportError) as error:
                        # A sentence may name a command with one of its flags, and a
                        # benchmark may need PyTorch, which is optional.
                        mention = not in_block and re.match("[Mm]issing", str(error))
                        if not mention and getattr(error, "name", "") != "torch":
                            fault = f"{shlex.join(words)}: {error}"
                    found[path].append((words, values, fault))
    os.environ.clear()
    os.environ.update(environment)
    return found


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.stem)
def test_every_command_line_can_be_parsed(parsed, path):
    faults = [fault for _, _, fault in parsed[path] if fault]
    assert not faults, "\n".join(faults)


def test_most_command_lines_are_parsed(parsed):
    every = [words for path in DOCUMENTS for words, _ in commands_of(path)]
    assert len(every) > 250
    assert sum(map(len, parsed.values())) > 0.8 * len(every)


def test_every_run_that_is_used_is_made_by_some_command(parsed):
    made, used = set(OTHER_RUNS), {}
    for path, entries in parsed.items():
        for words, values, _ in entries:
            named = [word for word in words if word.startswith("runs/")]
            named += [x[0] for w in words if (x := re.findall(r"=(runs/.*)", w))]
            makes = {"train.py", "import", "encnet_jax.sweep"} & set(words)
            if makes and values is not None and not isinstance(values, dict):
                own = values.workdir or f"runs/{cli.config_name(values)}"
                made.add(own)
                named = [name for name in named if name != own]
            for name in named:
                used.setdefault(name, f"{path.name}: {shlex.join(words)}")
    unknown = {
        name: place
        for name, place in used.items()
        if not any(name == run or name.startswith(f"{run}/") for run in made)
    }
    outputs = re.compile(r".*(pictures|learning.*|MODEL|\$model)$")
    unknown = {k: v for k, v in unknown.items() if not outputs.match(k)}
    assert not unknown, "\n".join(unknown.values())
