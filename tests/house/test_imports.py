"""Imports go one way: app -> routes, media -> prompt, registry, wire, records -> call -> nothing."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

FLOORS = [
    ("app",),
    (
        "routes_twilio",
        "routes_calls",
        "routes_records",
        "routes_metrics",
        "routes_recordings",
        "call_aftermath",
        "drain",
        "kav.commands",
        "kav.console",
        "kav.refusal",
    ),
    ("media_desk", "call_admission", "call_placed", "twilio_answers"),
    ("media_ws_ai", "kav.after_call", "kav.shared"),
    (
        "realtime_prompt_builder",
        "stream_registry",
        "kav.wire",
        "kav.records",
        "kav.log",
        "kav.metrics",
        "kav.flow_files",
    ),
    ("kav.call", "kav.settings", "kav.dialling", "kav.tickets", "kav.bearer", "kav.cost", "kav.pattern"),
]

LOADED = """
import sys
before = set(sys.modules)
import importlib, pkgutil
module = importlib.import_module(sys.argv[1])
for found in pkgutil.walk_packages(getattr(module, "__path__", []), sys.argv[1] + "."):
    if "migrations" not in found.name:
        importlib.import_module(found.name)
print(*sorted(set(sys.modules) - before))
"""


def loaded_by(module: str) -> set[str]:
    """Every module that importing `module`, and all below it, brings in: what really happens, not what is written."""
    answer = subprocess.run(
        [sys.executable, "-c", LOADED, module], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    return set(answer.stdout.split())


def is_in(module: str, room: str) -> bool:
    return module == room or module.startswith(room + ".")


@pytest.mark.parametrize("floor", range(1, len(FLOORS)))
def test_no_room_imports_from_a_floor_above(floor: int) -> None:
    above = [room for rooms in FLOORS[:floor] for room in rooms]
    for room in FLOORS[floor]:
        loaded = loaded_by(room)
        assert not [module for module in loaded for other in above if is_in(module, other)], room


def test_call_decides_with_nothing_but_the_standard_library() -> None:
    """No socket, clock, Flask or gevent: decisions are pure."""
    foreign = {name.partition(".")[0] for name in loaded_by("kav.call")} - set(sys.stdlib_module_names) - {"kav"}
    assert foreign == set()
    impure = {"socket", "selectors", "asyncio", "threading", "subprocess"}
    assert not impure & loaded_by("kav.call")


@pytest.mark.parametrize("room", ["rehearsal", "bench"])
def test_the_rehearsal_world_meets_kav_over_the_wire_alone(room: str) -> None:
    """It shares no module with Kav, so that nothing can be right on both sides by the same mistake."""
    kavs_own = [other for rooms in FLOORS for other in rooms]
    assert not [module for module in loaded_by(room) for other in kavs_own if is_in(module, other)]


def test_importing_the_front_door_patches_nothing() -> None:
    script = "import app, socket; from gevent import monkey; assert not monkey.is_module_patched('socket')"
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True, timeout=60)
