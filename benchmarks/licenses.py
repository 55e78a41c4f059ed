"""License files of this machine: ours beside ScanCode, what both say and what it costs.

    python benchmarks/licenses.py --scancode VENV/bin/python [--root DIR …] [--heldout DIR …] [--limit N] [--kept FILE]

ScanCode lives in an environment of its own (`pip install scancode-toolkit pluggy==1.5.0`). Every distinct file that is
named like a license below the roots is given to both; ScanCode's own index of texts (`licensedcode`) is passed over.
Files below `--heldout` are others, which nobody looked at: where the two differ on them is counted and not shown, so that
the recognizer was not fitted to them. Once they were looked at (`--show-heldout`), they are no longer held out.

Compared are sets of SPDX ids. Taken for the same: a GNU license with and without "or later", ids of one text (SAME,
each with its reason), a license with and without an exception to it, and GPL-1.0, which is ScanCode's word for the GPL
without a version, beside a GPL with one. ScanCode's references that name no license (a warranty, an unknown license, a
contributor's agreement) are left out.

`equal`: the two sets are one. `agree`: we find every license of which ScanCode saw a text or notice (a match of three
lines or more with a score of 80 or more; where it saw none, everything that it saw), and none that ScanCode does not
also name: so mentions of a line or two, and matches of which ScanCode itself is unsure, may be found or not.
`few`: the same three for files in which ScanCode sees one or two licenses, without the bundles of third parties' ones.
`type`: permissive, not permissive or none. Process CPU seconds; ScanCode's index is loaded before its clock starts,
ours before ours. Appends one line to benchmarks/results/licenses.jsonl.
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

from starloom.corpus.license_evidence import is_license_file
from starloom.corpus.license_expressions import ids, joined, license_type
from starloom.corpus.license_texts import recognize

RESULTS = Path(__file__).parent / "results" / "licenses.jsonl"
NO_LICENSE = (
    "unknown",
    "warranty",
    "proprietary-license",
    "commercial-license",
    "other-",
    "reference",
    "generic",
)  # in ScanCode's LicenseRefs
BUNDLE = 2  # licenses in a file; with more it is a list of others' licenses
SAME = {  # ids of one text, or of a text and the one that holds it
    "PSF-2.0": "Python-2.0",
    "Python-2.0.1": "Python-2.0",
    "libpng-1.6.35": "Libpng",  # versions of one text
    "libpng-2.0": "Libpng",
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
                and "licensedcode" not in path.parts
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


def texts_below(roots: list[Path], limit: int) -> dict[str, str]:
    return {str(path): path.read_text("utf-8") for path in license_files(roots, limit)}


def kept(names: set[str]) -> set[str]:
    return {
        name
        for name in names
        if not (name.startswith("LicenseRef-scancode-") and any(word in name for word in NO_LICENSE))
    }


def family(names: set[str]) -> set[str]:
    plain = (name.removesuffix("-only").removesuffix("-or-later").rstrip("+") for name in kept(names))
    found = {SAME.get(name, name) for name in plain if "exception" not in name.lower()}
    return found - {"GPL-1.0"} if found & {"GPL-2.0", "GPL-3.0"} else found


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
    parser.add_argument("--heldout", action="append", type=Path, help="where files are that nobody looked at")
    parser.add_argument("--limit", type=int, default=10_000)
    parser.add_argument("--kept", type=Path, help="ScanCode's answers, written once and read again after that")
    parser.add_argument("--show-heldout", action="store_true", help="print where the held-out files differ too")
    flags = parser.parse_args()
    texts = texts_below(flags.root or [Path(sys.prefix)], flags.limit)
    seen = set(texts.values())
    unseen = texts_below(flags.heldout or [], flags.limit)
    texts |= {path: text for path, text in unseen.items() if text not in seen}
    print(f"{len(texts)} files")
    theirs = scancode(flags.scancode, list(texts), flags.kept)
    texts = {path: text for path, text in texts.items() if path in theirs}
    recognize("warm up")
    begin = time.process_time()
    found = {path: ids_of(list(recognize(text))) for path, text in texts.items()}
    ours_s = time.process_time() - begin
    every = {path: compared(theirs[path], names) for path, names in found.items()}
    hidden = unseen.keys() & texts.keys()
    few = {path for path in texts if len(family(ids_of([theirs[path]["spdx"]]))) <= BUNDLE}
    for path, result in every.items():
        if not result["agree"] and (flags.show_heldout or path not in hidden):
            print(f"  {path}\n    ScanCode {theirs[path]['spdx']}\n    ours {sorted(found[path])}")
    scancode_s = sum(theirs[path]["cpu_s"] for path in texts)
    result: dict[str, Any] = {
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": platform.processor() or platform.machine(),
        "files": len(texts),
        "bytes": sum(len(text.encode()) for text in texts.values()),
        **shares(list(every.values())),
        "heldout": {"files": len(hidden), **shares([every[path] for path in every if path in hidden])},
        "few": {"files": len(few), **shares([every[path] for path in few])},
        "heldout_few": {"files": len(few & hidden), **shares([every[path] for path in few & hidden])},
        "cpu_s": {"ours": round(ours_s, 3), "scancode": round(scancode_s, 3)},
        "ratio": round(scancode_s / ours_s, 1),
    }
    print(json.dumps(result))
    with RESULTS.open("a") as file:
        file.write(json.dumps(result) + "\n")


def scancode(python: str, paths: list[str], kept_at: Path | None) -> dict[str, dict[str, Any]]:
    """ScanCode's answers by path; those written down before are not asked for again."""
    lines = kept_at.read_text().splitlines() if kept_at is not None and kept_at.exists() else []
    known = {one["path"]: one for one in map(json.loads, lines)}
    missing = [path for path in paths if path not in known]
    if missing:
        done = subprocess.run(
            [python, "-c", SCANCODE], input=json.dumps(missing), stdout=subprocess.PIPE, text=True, check=True
        )
        if kept_at is not None:
            with kept_at.open("a") as file:
                file.write(done.stdout)
        known |= {one["path"]: one for one in map(json.loads, done.stdout.splitlines())}
    return {path: known[path] for path in paths if path in known}


def shares(results: list[dict[str, bool]]) -> dict[str, float]:
    return {
        key: round(sum(one[key] for one in results) / max(1, len(results)), 4) for key in ("equal", "agree", "type")
    }


if __name__ == "__main__":
    main()
