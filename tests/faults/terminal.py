"""Runs a command in a terminal whose connection is lost once the command has saved.

terminal.py [--close] WORKDIR python train.py ...

With --close the terminal itself disappears: what is printed fails from then on.
"""

import os
import pathlib
import pty
import signal
import sys


def main() -> int:
    """Copies the terminal to standard output; returns the command's exit status."""
    close = sys.argv[1] == "--close"
    del sys.argv[1 : 1 + close]
    workdir, sent = pathlib.Path(sys.argv[1]), False
    child, terminal = pty.fork()
    if child == 0:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup ignores it.
        os.execvp(sys.argv[2], sys.argv[2:])
    while True:
        try:
            text = os.read(terminal, 1 << 16)
        except OSError:  # Its end, on Linux.
            break
        if not text:
            break
        os.write(sys.stdout.fileno(), text)
        if not sent and list(workdir.glob("checkpoints/[1-9]*[0-9]")):
            sent = True
            if close:
                os.close(terminal)
                break
            os.kill(child, signal.SIGHUP)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


if __name__ == "__main__":
    sys.exit(main())
