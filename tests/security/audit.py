"""Says of how many packages anybody knows the weaknesses: `python -m tests.security.audit [--strict] requirements.txt`.

`pip-audit` passes over what its source of advisories does not know, and still ends well: behind a mirror without
advisories it audits nothing at all and finds no weakness. This tells the one from the other, in its last line. It fails
on known weaknesses, on an audit that did not come about, and with `--strict` on packages that were passed over, unless
all were: where there are no advisories, nobody can do anything about it.
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

AUDIT = (
    sys.executable,
    "-m",
    "pip_audit",
    "--format",
    "json",
    "--progress-spinner",
    "off",
    "--disable-pip",
    "--no-deps",
)


def verdict(found: dict[str, Any], *, strict: bool) -> tuple[bool, list[str]]:
    """Whether the audit may pass, and what to say of it; `found` is what pip-audit writes."""
    packages = {each["name"]: each for each in found["dependencies"]}.values()
    skipped = [each["name"] for each in packages if "skip_reason" in each]
    weak = [
        f"{each['name']} {each['version']}: {hole['id']}, mended in {', '.join(hole['fix_versions']) or 'no release'}"
        for each in packages
        for hole in each.get("vulns", ())
    ]
    audited, told = len(packages) - len(skipped), f"audited {len(packages) - len(skipped)} of {len(packages)} packages"
    if not audited:
        return True, [f"{told}: this package index has no advisories, so nothing is known of any of them"]
    if skipped:
        told += f"; passed over: {', '.join(sorted(skipped))}"
    return not (weak or (strict and skipped)), [*weak, f"{told}; known weaknesses: {len(weak)}"]


def main(arguments: Sequence[str]) -> int:
    """Audit the requirements that are named."""
    files = [argument for argument in arguments if argument != "--strict"]
    named = [part for file in files for part in ("-r", file)]
    ran = subprocess.run([*AUDIT, *named], capture_output=True, text=True, check=False)
    try:
        found = json.loads(ran.stdout)
    except ValueError:
        sys.stderr.write(f"{ran.stderr[-2000:]}\nthe audit did not come about: is the package index there?\n")
        return 1
    passed, lines = verdict(found, strict="--strict" in arguments)
    sys.stdout.write("\n".join(lines) + "\n")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
