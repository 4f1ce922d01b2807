"""Run a program that ends when whoever started it is gone, killed too: `python leash.py PROGRAM ARGUMENT...`.

The leash is standard input: a pipe whose other end nobody but the starter holds. A forked watcher reads it, and ends
the program at the pipe's end. The program keeps the process id that its starter knows; its own standard input is empty.
"""

import os
import signal
import sys


def main(command: list[str]) -> None:
    """Fork the watcher, then become the program."""
    program = os.getpid()
    if os.fork() == 0:
        _watch(program)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.execv(command[0], command)


def _watch(program: int) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # what ends the program must not end its watcher
        signal.signal(number, signal.SIG_IGN)
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)  # whoever reads the program's output must not wait for the watcher
    os.dup2(null, 2)
    while os.read(0, 1):
        pass
    if os.getppid() == program:  # else it ended before, and the number may be another's by now
        os.kill(program, signal.SIGTERM)
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1:])
