"""The rooms of the package: who may import whom."""

import ast
import pathlib
import subprocess
import sys

import pytest

PACKAGE = pathlib.Path(__file__).parent.parent / "encnet_jax"
# From the top floor to the ground: a room imports from floors below its own, and from
# its neighbours on the same floor only where no circle comes of it.
FLOORS = (
    ("__main__",),
    ("commands",),
    ("sweep", "report", "plan", "export", "selftest"),
    ("inference",),
    ("train", "evaluate"),
    ("tasks", "torch_weights"),
    ("data", "scoring", "checkpoints"),
    ("cli",),
    ("pods",),
    ("config",),
    ("models", "losses", "crf"),
    (
        "preprocess",
        "pictures",
        "train_state",
        "storage",
        "labels",
        "registry",
        "weights",
    ),
    ("errors", "fields"),
)
FLOOR = {room: i for i, rooms in enumerate(FLOORS) for room in rooms}
# The same for the folders and files of data/; `__init__` is data/__init__.py.
DATA_FLOORS = (
    ("__main__",),
    ("check", "prepare", "export_arrays", "export_images"),
    ("__init__",),
    ("sets",),
    ("pipelines",),
    ("augment", "archives"),
    ("sources",),
)
# Pairs of a folder of data/ and another folder that it imports.
MOST_DATA_PAIRS = 20
# Imports that run up, each explained where it is.
EXCEPTIONS: set[tuple[str, str]] = {("config", "cli")}


def room_of(module: str) -> str | None:
    """Returns the folder or module at the top of the package that a name is in."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 and parts[0] == "encnet_jax" else None


def imports() -> set[tuple[str, str, str]]:
    """Returns (importing room, imported room, file) of every import between rooms."""
    found = set()
    for path in PACKAGE.rglob("*.py"):
        here = path.relative_to(PACKAGE).with_suffix("").parts[0]
        for node in ast.walk(ast.parse(path.read_text())):
            names = []
            if isinstance(node, ast.ImportFrom) and node.module:
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            elif isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            for name in names:
                there = room_of(name)
                if there and there != here and here != "__init__":
                    found.add((here, there, str(path.relative_to(PACKAGE))))
    return found


def test_every_folder_has_a_layer():
    rooms = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py"}
    rooms |= {
        path.name for path in PACKAGE.iterdir() if (path / "__init__.py").exists()
    }
    assert rooms - set(FLOOR) <= {"__init__"}


def test_imports_go_down():
    up = {
        (here, there, file)
        for here, there, file in imports()
        if FLOOR[there] < FLOOR[here] and (here, there) not in EXCEPTIONS
    }
    assert not up and len(EXCEPTIONS) <= 2


def data_imports() -> set[tuple[str, str, str]]:
    """Returns (importing folder, imported folder, import) of every import in data/."""
    found = set()
    for path in (PACKAGE / "data").rglob("*.py"):
        here = path.relative_to(PACKAGE / "data").with_suffix("").parts[0]
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.ImportFrom):
                continue
            parts = (node.module or "").split(".")
            if parts[:2] != ["encnet_jax", "data"]:
                continue
            names = parts[2:3] or [alias.name for alias in node.names]
            for there in names:
                there = there if there in DATA_FLOOR else "__init__"
                if there != here:
                    found.add((here, there, f"{path.name} {node.module}"))
    return found


DATA_FLOOR = {name: i for i, names in enumerate(DATA_FLOORS) for name in names}


def test_every_folder_of_data_has_a_layer():
    found = {path.stem for path in (PACKAGE / "data").iterdir()} - {"__pycache__"}
    assert found == set(DATA_FLOOR)


def test_imports_in_data_go_down():
    up = {i for i in data_imports() if DATA_FLOOR[i[1]] <= DATA_FLOOR[i[0]]}
    assert not up


def test_few_folders_of_data_import_each_other():
    pairs = {(here, there) for here, there, _ in data_imports()}
    assert len(pairs) <= MOST_DATA_PAIRS, sorted(pairs)


def test_no_import_cycles_between_folders():
    below: dict[str, set[str]] = {}
    for here, there, _ in imports():
        if (here, there) not in EXCEPTIONS:
            below.setdefault(here, set()).add(there)

    def reaches(start: str) -> set[str]:
        seen, queue = set(), [start]
        while queue:
            for there in below.get(queue.pop(), ()):
                if there not in seen:
                    seen.add(there)
                    queue.append(there)
        return seen

    assert not {room for room in below if room in reaches(room)}


def test_few_modules_are_outside_the_folders():
    files = [p.stem for p in PACKAGE.glob("*.py") if p.stem != "__init__"]
    assert len(files) <= 10, sorted(files)


def test_configurations_import_only_the_package():
    for path in (PACKAGE.parent / "configs").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom):
                assert node.module.split(".")[0] != "configs", path.name
    sources = PACKAGE.rglob("*.py")
    assert not [p for p in sources if "from configs" in p.read_text()]


@pytest.mark.parametrize(
    ("module", "forbidden"),
    [
        ("encnet_jax.train.step", ("data", "report", "scoring", "tasks", "config")),
        ("encnet_jax.models", ("data", "train", "scoring", "config")),
    ],
)
def test_a_module_loads_only_what_it_needs(module, forbidden):
    program = f"import sys, {module}; print(*sorted(m for m in sys.modules))"
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    loaded = run.stdout.split()
    assert module in loaded
    rooms = {room_of(name) for name in loaded}
    assert not rooms & set(forbidden)


# Functions outside config/, commands/ and configs/ that take the whole configuration.
MOST_CONFIGS = 25


def test_few_functions_take_the_whole_configuration():
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        if path.relative_to(PACKAGE).parts[0] in ("config", "commands"):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef):
                args = node.args
                names = [*args.posonlyargs, *args.args, *args.kwonlyargs]
                if "config" in [each.arg for each in names]:
                    found.append(f"{path.relative_to(PACKAGE)}: {node.name}")
    assert len(found) <= MOST_CONFIGS, found
