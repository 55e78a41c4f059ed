"""License files of this machine: ours beside ScanCode, what both say and what it costs.

    python benchmarks/licenses.py --scancode VENV/bin/python [--root DIR …] [--limit N]

ScanCode lives in an environment of its own (`pip install scancode-toolkit pluggy==1.5.0`). Every distinct file that is
named like a license below the roots is given to both. Compared are sets of SPDX ids, in which a GNU license is the same
with and without "or later", exceptions are left out, and so are ScanCode's references that name no license.

`equal`: the two sets are one. `agree`: we find every license of which ScanCode saw a text or notice (a match of three
lines or more, with a score of 80 or more), and none that ScanCode does not also name. `type`: permissive, not
permissive or none. Process CPU seconds; ScanCode's index is loaded before its clock starts, ours before ours. Appends
one line to benchmarks/results/licenses.jsonl.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import platform
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from starloom.corpus.license import is_license_file
from starloom.corpus.license_expressions import ids, joined, license_type
from starloom.corpus.license_texts import recognize

RESULTS = Path(__file__).parent / "results" / "licenses.jsonl"
NO_LICENSE = (
    "unknown",
    "warranty",
    "proprietary-license",
    "other-",
    "reference",
    "generic",
)  # in ScanCode's LicenseRefs
SAME = {  # ids of one text, or of a text and the one that holds it
    "PSF-2.0": "Python-2.0",
    "Python-2.0.1": "Python-2.0",
    "LicenseRef-scancode-protobuf": "BSD-3-Clause",  # and a note that what its compiler writes is not covered
    "LicenseRef-scancode-secret-labs-2011": "MIT-CMU",
}
SCANCODE = """
import json, sys, time
from scancode.api import get_licenses
paths = json.load(sys.stdin)
get_licenses(paths[0])
for path in paths:
    begin = time.process_time()
    found = get_licenses(path, deadline=time.time() + 100)
    matches = [[m["score"], m["end_line"] - m["start_line"] + 1, m["license_expression_spdx"]]
               for d in found["license_detections"] for m in d["matches"]]
    print(json.dumps({"path": path, "cpu_s": time.process_time() - begin, "matches": matches,
                      "spdx": found["detected_license_expression_spdx"]}), flush=True)
"""


def license_files(roots: list[Path], limit: int) -> list[Path]:
    """Distinct UTF-8 files named like a license, in the order of their content's hash."""
    found: dict[str, Path] = {}
    for root in roots:
        for path in root.rglob("*"):
            if (
                is_license_file(path.name)
                and path.is_file()
                and not path.is_symlink()
                and path.stat().st_size < 1 << 20
            ):
                data = path.read_bytes()
                try:
                    data.decode("utf-8")
                except UnicodeDecodeError:
                    continue
                found.setdefault(hashlib.sha256(data).hexdigest(), path)
    return [path for _, path in sorted(found.items())][:limit]


def kept(names: set[str]) -> set[str]:
    return {
        name
        for name in names
        if not (name.startswith("LicenseRef-scancode-") and any(word in name for word in NO_LICENSE))
    }


def family(names: set[str]) -> set[str]:
    plain = (name.removesuffix("-only").removesuffix("-or-later").rstrip("+") for name in kept(names))
    return {SAME.get(name, name) for name in plain if "exception" not in name.lower()}


def ids_of(expressions: list[str | None]) -> set[str]:
    return {name for expression in expressions if expression for name in ids(expression)}


def compared(theirs: dict[str, Any], ours: set[str]) -> dict[str, bool]:
    every = ids_of([theirs["spdx"]])
    sure = [match[2] for match in theirs["matches"] if match[0] >= 80 and match[1] >= 3]
    text = ids_of(sure) if sure else every
    mine = license_type(joined(sorted(ours), "AND"))
    return {
        "equal": family(every) == family(ours),
        "agree": family(text) <= family(ours) <= family(every),
        "type": mine in {license_type(joined(sorted(kept(names)), "AND")) for names in (every, text)},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scancode", required=True, help="the Python that has scancode-toolkit")
    parser.add_argument("--root", action="append", type=Path, help="where to look (default: this Python's packages)")
    parser.add_argument("--limit", type=int, default=10_000)
    parser.add_argument("--kept", type=Path, help="ScanCode's answers, written once and read again after that")
    flags = parser.parse_args()
    files = license_files(flags.root or [Path(sys.prefix)], flags.limit)
    print(f"{len(files)} files")
    if flags.kept is not None and flags.kept.exists():
        answers = [json.loads(line) for line in flags.kept.read_text().splitlines()]
    else:
        done = subprocess.run(
            [flags.scancode, "-c", SCANCODE],
            input=json.dumps([str(path) for path in files]), stdout=subprocess.PIPE, text=True, check=True,
        )  # fmt: skip
        answers = [json.loads(line) for line in done.stdout.splitlines()]
        if flags.kept is not None:
            flags.kept.write_text(done.stdout)
    theirs = {one["path"]: one for one in answers}
    recognize("warm up")
    texts = {str(path): path.read_text("utf-8") for path in files if str(path) in theirs}
    begin = time.process_time()
    found = {path: ids_of(list(recognize(text))) for path, text in texts.items()}
    ours_s = time.process_time() - begin
    every = {path: compared(theirs[path], names) for path, names in found.items()}
    for path, result in every.items():
        if not result["agree"]:
            print(f"  {path}\n    ScanCode {theirs[path]['spdx']}\n    ours {sorted(found[path])}")
    scancode_s = sum(theirs[path]["cpu_s"] for path in texts)
    result = {
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": platform.processor() or platform.machine(),
        "files": len(texts),
        "bytes": sum(len(text.encode()) for text in texts.values()),
        **{key: round(sum(one[key] for one in every.values()) / len(every), 4) for key in ("equal", "agree", "type")},
        "cpu_s": {"ours": round(ours_s, 3), "scancode": round(scancode_s, 3)},
        "ratio": round(scancode_s / ours_s, 1),
    }
    print(json.dumps(result))
    with RESULTS.open("a") as file:
        file.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
