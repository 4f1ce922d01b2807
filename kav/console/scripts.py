"""The flow files as they lie in their folder: what each says, what is wrong with it, and whether Kav runs it so.

Reading and checking them takes a while, so it is done on a thread of its own, and only when a file has changed.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from gevent.threadpool import ThreadPool

from kav.call.flow import Flow
from kav.flow_files import FOLDER, Checked, Fault, Flows, check_folder

MAX_SHOWN: Final = 200_000
"""Characters of a file that are shown: more is no flow."""

Signature = tuple[tuple[str, int, int], ...]


@dataclass(frozen=True, slots=True)
class Script:
    """One flow file."""

    name: str
    text: str
    flow: Flow | None
    faults: tuple[Fault, ...]
    running: bool
    """Kav serves calls with just this; otherwise it was changed, or added, since Kav was started."""

    @property
    def lines(self) -> list[str]:
        """The file, line by line."""
        return self.text.splitlines()


class Scripts:
    """The flow files of one installation."""

    def __init__(self, running: Flows, folder: Path = FOLDER) -> None:
        self._running: Mapping[str, Flow] = {flow.id: flow for flow in running.flows}
        self._folder = folder
        self._thread: ThreadPool | None = None
        self._seen: tuple[Signature, tuple[Script, ...]] = ((), ())

    def look(self) -> tuple[Script, ...]:
        """Return every file, as it is now; waits for the thread when one has changed."""
        self._thread = self._thread or ThreadPool(1)
        self._seen = self._thread.apply(self._read, (self._seen,))
        return self._seen[1]

    def find(self, name: str) -> Script | None:
        """Return one file by its name."""
        return next((script for script in self.look() if script.name == name), None)

    def _read(self, seen: tuple[Signature, tuple[Script, ...]]) -> tuple[Signature, tuple[Script, ...]]:
        signature = tuple(sorted(_signature(path) for path in self._folder.glob("*.y*ml")))
        if signature == seen[0]:
            return seen
        return signature, tuple(self._script(one) for one in check_folder(self._folder))

    def _script(self, checked: Checked) -> Script:
        path, flow = Path(checked.file), checked.flow
        text = path.read_text(encoding="utf-8", errors="replace")[:MAX_SHOWN] if path.is_file() else ""
        return Script(path.name, text, flow, checked.faults, flow is not None and self._runs(flow))

    def _runs(self, flow: Flow) -> bool:
        """Whether this is what Kav was started with, but for tools that it had to leave out."""
        running = self._running.get(flow.id)
        return running is not None and replace(running, tools=()) == replace(flow, tools=())


def _signature(path: Path) -> tuple[str, int, int]:
    known = path.stat()
    return (path.name, known.st_mtime_ns, known.st_size)
