"""The descriptors of a process, seen from outside: those of its pools apart from all others, which must not grow."""

import os
from collections import Counter
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path


def descriptors(pid: int, pooled: Collection[int] = ()) -> Counter[str]:
    """Count a process's open files and sockets; `pooled`: connections to these ports are counted as such.

    Raises:
        FileNotFoundError: there is no such process.
    """
    leads_to = _remote_ports(pid)
    found = Counter({"descriptors": 0, "pooled connections": 0})
    folder = f"/proc/{pid}/fd"
    for name in os.listdir(folder):
        with suppress(FileNotFoundError):  # closed since
            target = os.readlink(f"{folder}/{name}")
            found["pooled connections" if leads_to.get(target) in pooled else "descriptors"] += 1
    return found


def _remote_ports(pid: int) -> dict[str, int]:
    """Return where TCP sockets lead, by what a descriptor of theirs is called."""
    rows = [line.split() for table in ("tcp", "tcp6") for line in _lines(Path(f"/proc/{pid}/net/{table}"))]
    return {f"socket:[{row[9]}]": int(row[2].rpartition(":")[2], 16) for row in rows}


def _lines(table: Path) -> list[str]:
    return table.read_text().splitlines()[1:] if table.exists() else []
