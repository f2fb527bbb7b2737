"""Terminals that disappear, closed streams, log files, control characters."""

import shlex
import sys

from fixtures import CHECK, command, flags, folder_set, noise, program, run_file
from registry import case

LONG = "--config.train.total_steps=100000", "--config.train.checkpoint_every_steps=1"


@case("stream the terminal is closed, train", 0, "")
def closed_terminal(root):
    folder_set(root / "r")
    words = *flags(root / "r", *LONG), f"--workdir={root}/w"
    lost = sys.executable, run_file("terminal.py"), "--close", f"{root}/w"
    yield [*lost, *command("train.py", *words)]
    assert list((root / "w/checkpoints").glob("*/sha256.json"))


for closed in ("1>&-", "2>&-", "1>&- 2>&-", "0<&-", "0<&- 1>&- 2>&-"):

    @case(f"stream {closed}, train", 0, "")
    def closed_stream(root, closed=closed):
        folder_set(root / "r")
        words = command("train.py", *flags(root / "r"), f"--workdir={root}/w")
        yield ["bash", "-c", f"{shlex.join(words)} {closed}"]
        assert (root / "w/checkpoints/4/sha256.json").exists()
        for events in (root / "w").glob("events*"):
            assert b"warning" not in events.read_bytes()


@case("stream a log file has no bar, train", 0, "4/4 loss=")
def log_file(root):
    folder_set(root / "r")
    more = ("--config.train.log_every_steps=1",)
    words = command("train.py", *flags(root / "r", *more), f"--workdir={root}/w")
    yield ["bash", "-c", f"{shlex.join(words)} > log 2>&1; s=$?; cat log; exit $s"]
    text = (root / "log").read_bytes()
    assert b"\r" not in text and b"it/s" not in text
    assert text.count(b"loss=") == 4


EVIL = "a\x1b[31m\nb\u202e.jpg"


@case("stream control characters in a name, predict", 1, "\\x1b[31m\\n", "run")
def name_printed(root):
    (root / "p").mkdir()
    (root / "p" / EVIL).write_bytes(b"no image")
    noise().save(root / "p/good.jpg")
    where = f"--input={root}/p", f"--output={root}/o"
    words = command("predict.py", f"--workdir={root}/run", *where)
    yield ["bash", "-c", f"{shlex.join(words)} > log 2>&1; s=$?; cat log; exit $s"]
    assert "\x1b" not in (root / "log").read_text()
    assert "\u202e" not in (root / "log").read_text()


@case("stream control characters in a name, check", 1, "\\x1b[31m\\n")
def name_checked(root):
    folder_set(root / "r")
    (root / "r/val/images" / EVIL).write_bytes(b"no image")
    (root / "r/val/masks" / EVIL.replace(".jpg", ".png")).write_bytes(b"none")
    words = command(CHECK, *flags(root / "r"))
    yield ["bash", "-c", f"{shlex.join(words)} > log 2>&1; s=$?; cat log; exit $s"]
    assert "\x1b" not in (root / "log").read_text()


# A hash of minutes, as a compilation, runs no Python code in the main thread.
COMPILING = """
import hashlib, os, signal, threading, time
from encnet_jax.pods.signals import StopRequest

def interrupt():
    for _ in range(2):
        time.sleep(1)
        os.kill(os.getpid(), signal.SIGINT)

with StopRequest():
    threading.Thread(target=interrupt, daemon=True).start()
    hashlib.pbkdf2_hmac("sha256", b"x", b"y", 2_000_000_000)
print("not reached")
"""


ALONE = """
import hashlib, os, signal, threading, time
from encnet_jax import cli

def interrupt():
    time.sleep(1)
    os.kill(os.getpid(), signal.SIGINT)

def main(argv):
    # A shell ignores it for commands in the background.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    threading.Thread(target=interrupt, daemon=True).start()
    hashlib.pbkdf2_hmac("sha256", b"x", b"y", 2_000_000_000)
    print("not reached")

cli.start(main)
"""


@case("stream Ctrl-C while a command other than train compiles", 130, "interrupted")
def compiling_alone(root):
    yield program(root, ALONE)


for words in ("eval.py --workdir=run", "encnet_jax.config quickstart"):

    @case(f"stream a full disk, {words.split()[0]}", 2, "output is incomplete", "run")
    def full_output(root, words=words):
        name, *given = words.split()
        line = shlex.join(command(name, *given))
        yield ["bash", "-c", f"{line} > /dev/full"]
        assert "eval" not in name or (root / "run/report.json").exists()


@case("stream two Ctrl-C during a compilation", 130, "stopping after the step or")
def compiling(root):
    yield program(root, COMPILING)
