"""Guards the audit's last line: nothing audited is not nothing found."""

from typing import Any

from tests.security.audit import verdict

HOLE = {"id": "PYSEC-2026-1", "fix_versions": ["1.2"], "aliases": [], "description": "."}
GOOD: dict[str, Any] = {"name": "flask", "version": "3", "vulns": []}
WEAK: dict[str, Any] = {"name": "jinja2", "version": "1.1", "vulns": [HOLE]}
UNKNOWN: dict[str, Any] = {"name": "greenlet", "skip_reason": "Dependency not found on PyPI"}


def audited(*packages: dict[str, Any], strict: bool = False) -> tuple[bool, str]:
    passed, lines = verdict({"dependencies": list(packages)}, strict=strict)
    return passed, "\n".join(lines)


def test_an_index_without_advisories_is_named_as_one_and_fails_nobody() -> None:
    for strict in (False, True):
        passed, said = audited(UNKNOWN, {**UNKNOWN, "name": "flask"}, strict=strict)
        assert passed
        assert said.startswith("audited 0 of 2 packages: this package index has no advisories")


def test_known_weaknesses_fail_and_say_what_mends_them() -> None:
    passed, said = audited(GOOD, WEAK)
    assert not passed
    assert said == "jinja2 1.1: PYSEC-2026-1, mended in 1.2\naudited 2 of 2 packages; known weaknesses: 1"


def test_what_is_passed_over_is_named_and_fails_where_all_is_required() -> None:
    for strict in (False, True):
        passed, said = audited(GOOD, UNKNOWN, strict=strict)
        assert passed is not strict
        assert said == "audited 1 of 2 packages; passed over: greenlet; known weaknesses: 0"


def test_a_package_that_two_files_name_counts_once() -> None:
    assert audited(GOOD, GOOD)[1] == "audited 1 of 1 packages; known weaknesses: 0"
