"""Kav's process, seen from outside: memory, threads, sockets; those of its pools apart from all others."""

import asyncio
import os
from collections import Counter
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

LOOK_EVERY_S = 0.25
Figures = dict[str, float]


class Watch:
    """Looks at a process again and again while the block lasts; `most` is the greatest that was seen of each figure."""

    def __init__(self, pid: int, pooled: Collection[int] = ()) -> None:
        self.most: Figures = {}
        self._pid, self._pooled = pid, pooled
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "Watch":
        self._task = asyncio.create_task(self._look())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _look(self) -> None:
        while True:
            for name, figure in looked_at(self._pid, self._pooled).items():
                self.most[name] = max(figure, self.most.get(name, 0))
            await asyncio.sleep(LOOK_EVERY_S)


def looked_at(pid: int, pooled: Collection[int] = ()) -> Figures:
    """Return what a process holds just now: `rss_mb`, `threads`, and its descriptors; see `descriptors`.

    Raises:
        FileNotFoundError: there is no such process.
    """
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return {
        "rss_mb": int(status["VmRSS"].split()[0]) / 1024,
        "threads": int(status["Threads"]),
        **descriptors(pid, pooled),
    }


def descriptors(pid: int, pooled: Collection[int] = ()) -> Counter[str]:
    """Count a process's sockets and its other open files; `pooled`: connections to these ports are counted as such.

    Raises:
        FileNotFoundError: there is no such process.
    """
    leads_to = _remote_ports(pid)
    found = Counter({"open sockets": 0, "open files": 0, "pooled connections": 0})
    folder = f"/proc/{pid}/fd"
    for name in os.listdir(folder):
        with suppress(FileNotFoundError):  # closed since
            target = os.readlink(f"{folder}/{name}")
            own = "open sockets" if target.startswith("socket:") else "open files"
            found["pooled connections" if leads_to.get(target) in pooled else own] += 1
    return found


def unpooled(pid: int, pooled: Collection[int] = ()) -> list[str]:
    """Say where a process's sockets lead that are no pool's: for whoever looks for a leak."""
    leads_to, folder, found = _remote_ports(pid), f"/proc/{pid}/fd", list[str]()
    for name in os.listdir(folder):
        with suppress(FileNotFoundError):
            target = os.readlink(f"{folder}/{name}")
            if target.startswith("socket:") and leads_to.get(target) not in pooled:
                found.append(f"{name}: {target} to port {leads_to.get(target, 'none')}")
    return found


def _remote_ports(pid: int) -> dict[str, int]:
    """Return where TCP sockets lead, by what a descriptor of theirs is called."""
    rows = [line.split() for table in ("tcp", "tcp6") for line in _lines(Path(f"/proc/{pid}/net/{table}"))]
    return {f"socket:[{row[9]}]": int(row[2].rpartition(":")[2], 16) for row in rows}


def _lines(table: Path) -> list[str]:
    return table.read_text().splitlines()[1:] if table.exists() else []
