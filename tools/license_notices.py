"""Derive src/starloom/corpus/data/license_notices.parquet from the rules that ScanCode carries.

    python tools/license_notices.py SITE_PACKAGES/licensedcode/data

A rule is a wording in which a license is granted or named. Of each of six words or more: the checksum of its first six
words, its length, the checksum of all of it, and the SPDX ids that it stands for. A short one that stands in the text of
another license (MPL-2.0 names the GNU ones) is left out. The wordings are not shipped.
"""

from __future__ import annotations

import re
import sys
import zlib
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from starloom.corpus.license_grams import RUN, words_of

TARGET = Path(__file__).parents[1] / "src/starloom/corpus/data/license_notices.parquet"
LEAST = RUN  # words
LONG = 12  # words; our choice: a text that holds this much of another's wording quotes it
NO_LICENSE = (
    "unknown",
    "warranty",
    "other-",
    "proprietary",
    "reference",
    "generic",
    "disclaimer",
    "commercial-license",
)
Key = tuple[int, int, int]  # checksum of the first words, length, checksum of all


def parts(path: Path) -> tuple[dict[str, Any], str] | None:
    found = path.read_text(encoding="utf-8").split("---\n", 2)
    if len(found) < 3:
        return None
    about: dict[str, Any] = yaml.load(found[1], Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    return about, found[2]


def quoted(words: list[str], wordings: set[Key]) -> set[Key]:
    """Those of the wordings that stand in a text."""
    found = set()
    starts = {key[0] for key in wordings}
    for at in range(len(words) - RUN + 1):
        start = zlib.crc32(" ".join(words[at : at + RUN]).encode())
        if start in starts:
            for length in range(RUN, LONG):
                key = start, length, zlib.crc32(" ".join(words[at : at + length]).encode())
                if key in wordings:
                    found.add(key)
    return found


def main() -> None:
    data = Path(sys.argv[1])
    known: dict[str, str] = {}
    texts: dict[str, list[str]] = {}
    for path in sorted((data / "licenses").glob("*.LICENSE")):
        if (one := parts(path)) is not None and one[0].get("spdx_license_key") and not one[0].get("is_exception"):
            known[one[0]["key"]] = one[0]["spdx_license_key"]
            texts[known[one[0]["key"]]] = words_of(one[1])
    rows: dict[Key, list[str]] = {}
    for path in sorted((data / "rules").glob("*.RULE")):
        one = parts(path)
        if one is None:
            continue
        about, text = one
        if any(
            about.get(flag) for flag in ("is_license_clue", "is_license_intro", "is_false_positive", "is_deprecated")
        ):
            continue
        words = words_of(text)
        names = [known[key] for key in re.findall(r"[\w.+-]+", about.get("license_expression") or "") if key in known]
        names = sorted({name for name in names if not any(word in name for word in NO_LICENSE)})
        if len(words) < LEAST or not names or about.get("relevance", 100) < 90 or about.get("language", "en") != "en":
            continue
        start = zlib.crc32(" ".join(words[:RUN]).encode())
        rows[start, len(words), zlib.crc32(" ".join(words).encode())] = names
    for license_, words in texts.items():
        for key in quoted(words, {key for key in rows if key[1] < LONG}):
            if license_ not in rows[key]:
                del rows[key]
    ordered = sorted(rows.items())
    table = pa.table(
        {
            "start": pa.array([key[0] for key, _ in ordered], pa.uint32()),
            "words": pa.array([key[1] for key, _ in ordered], pa.int32()),
            "whole": pa.array([key[2] for key, _ in ordered], pa.uint32()),
            "licenses": pa.array([" ".join(names) for _, names in ordered]).dictionary_encode(),
        }
    ).replace_schema_metadata(
        {
            "source": "ScanCode's license rules (aboutcode-org/scancode-toolkit, licensedcode/data/rules), CC-BY-4.0, nexB Inc. and others",
            "made by": "tools/license_notices.py: checksums of wordings, not the wordings",
        }
    )
    pq.write_table(table, TARGET, compression="zstd", store_schema=True)
    print(f"{len(table):,} wordings, {TARGET.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
