"""How long to try: with `--fuzz-seconds` every test here is repeated, with new material."""

import time
from collections.abc import Iterator

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--fuzz-seconds", type=float, default=0.0, help="how long all of tests/fuzz may take together")


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Iterator[None]:
    """Call the test, then again and again until its share of the time is used up: every time with other examples."""
    share_s = pyfuncitem.config.getoption("--fuzz-seconds", default=0.0) / max(1, len(pyfuncitem.session.items))
    until = time.monotonic() + share_s
    outcome = yield
    if pyfuncitem.path.is_relative_to(__file__.rpartition("/")[0]):
        known = pyfuncitem._fixtureinfo.argnames  # noqa: SLF001 - has no public name
        arguments = {name: pyfuncitem.funcargs[name] for name in known}
        while time.monotonic() < until:
            pyfuncitem.obj(**arguments)
    return outcome
