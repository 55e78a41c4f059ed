"""Derive src/starloom/corpus/data/permissive_licenses.txt from the index that license-expression carries.

    python tools/permissive_licenses.py VERSION

Permissive are the SPDX ids (and ScanCode's own LicenseRef ids) whose category in the index is Permissive or Public
Domain, exceptions and deprecated keys left out. BigCode's list of 193 ids is not public data; where a user has it, it
can take this file's place. Raise VERSION whenever an id comes or goes: manifests name it.
"""

from __future__ import annotations

import json
import sys
from importlib import metadata, resources
from pathlib import Path

TARGET = Path(__file__).parents[1] / "src/starloom/corpus/data/permissive_licenses.txt"
CATEGORIES = ("Permissive", "Public Domain")
OURS = ("LicenseRef-BSD-unspecified",)  # metadata that says BSD and no more: every BSD license is permissive


def main() -> None:
    version = int(sys.argv[1])
    index = json.loads(
        (resources.files("license_expression") / "data" / "scancode-licensedb-index.json").read_text("utf-8")
    )
    ids = {
        item["spdx_license_key"]
        for item in index
        if item["category"] in CATEGORIES
        and item.get("spdx_license_key")
        and not item["is_exception"]
        and not item["is_deprecated"]
    }
    ids |= set(OURS)
    lines = [
        f"# version: {version}",
        f"# source: license-expression {metadata.version('license-expression')}, its index of the ScanCode LicenseDB "
        "(CC-BY-4.0, nexB Inc. and others)",
        f"# rule: categories {' and '.join(CATEGORIES)}, without exceptions and deprecated keys; tools/permissive_licenses.py",
        *sorted(ids),
    ]
    TARGET.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"{len(ids)} ids, {sum(not one.startswith('LicenseRef') for one in ids)} of them SPDX")


if __name__ == "__main__":
    main()
