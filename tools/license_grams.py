"""Derive src/starloom/corpus/data/license_grams.parquet from the license texts that ScanCode carries.

    python tools/license_grams.py SITE_PACKAGES/licensedcode/data/licenses

Of each text with an SPDX id, or one of ScanCode's own for a text that SPDX does not list, the 32-bit checksums of its runs of six words; of a long text an eighth of
them, chosen by the checksum itself, so that a reader chooses the same. The texts themselves are not shipped.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from starloom.corpus.license_grams import LONG, grams, sampled

LONG_OF_REFERENCES = 400
LEAST_OF_REFERENCES = 30  # runs; what has no SPDX id is often a sentence or two, which others quote
PART = 0.7  # of a reference's runs: more of them in one of SPDX's texts, and it is a piece or a variant of that
OPEN = ("Permissive", "Copyleft", "Copyleft Limited", "Public Domain")
NO_LICENSE = (
    "warranty",
    "other-",
    "proprietary",
    "reference",
    "disclaimer",
    "notice",
    "agreement",
    "-cla",
    "commercial",
)
TARGET = Path(__file__).parents[1] / "src/starloom/corpus/data/license_grams.parquet"


def main() -> None:
    rows = []
    for path in sorted(Path(sys.argv[1]).glob("*.LICENSE")):
        parts = path.read_text(encoding="utf-8").split("---\n", 2)
        if len(parts) < 3:
            continue
        about = yaml.safe_load(parts[1])
        name = about.get("spdx_license_key")
        if not name or about.get("is_deprecated") or about.get("is_exception"):
            continue
        reference = name.startswith("LicenseRef")
        if name == "LicenseRef-scancode-secret-labs-2011":  # the text that SPDX calls MIT-CMU
            continue
        if reference and (about.get("category") not in OPEN or any(one in name for one in NO_LICENSE)):
            continue
        if name == "MPL-2.0-no-copyleft-exception":  # the text of MPL-2.0, word for word
            continue
        if about.get("language", "en") != "en":
            continue
        every = found = np.unique(grams(parts[2]))
        if len(found) > (LONG_OF_REFERENCES if reference else LONG):
            found = sampled(found)
        if len(found) >= (LEAST_OF_REFERENCES if reference else 8):  # a name or a line is no text
            rows.append({"license": name, "grams": found, "whole": every})
    whole = [row["whole"] for row in rows if not row["license"].startswith("LicenseRef")]
    rows = [
        row
        for row in rows
        if not row["license"].startswith("LicenseRef")
        or max(float(np.isin(row["whole"], text).mean()) for text in whole) < PART
    ]
    table = pa.table(
        {
            "license": pa.array([row["license"] for row in rows]),
            "grams": pa.array([row["grams"] for row in rows], pa.list_(pa.uint32())),
        }
    ).replace_schema_metadata(
        {
            "source": "ScanCode LicenseDB (aboutcode-org/scancode-toolkit, licensedcode/data/licenses), CC-BY-4.0, nexB Inc. and others",
            "made by": "tools/license_grams.py: checksums of runs of words, not the texts",
        }
    )
    pq.write_table(table, TARGET, compression="zstd", store_schema=True)
    print(f"{len(rows)} texts, {sum(len(row['grams']) for row in rows):,} runs, {TARGET.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
