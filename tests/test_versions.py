"""Code that changes what a stage puts out must raise its version.

`versions.json` holds (stage, version, digest of its output on a tiny corpus). A new digest under an old version fails;
after raising the version, `python -m pytest tests/test_versions.py --update-versions` writes the new one.
Weights depend on the machine, so a training stage is held to its batches and first loss.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from journey import small
from starloom.store import Built, canonical_json
from starloom.tokens.dataset import Dataset
from starloom.tokens.fim import FIM

KEPT = Path(__file__).parent / "versions.json"


def digest(built: Built) -> str:
    """What a directory holds, apart from how Parquet or a library's release spells it."""
    found = hashlib.sha256()
    for name in sorted(built.manifest["files"]):
        if name.endswith(".parquet"):
            data = canonical_json(
                json.loads(
                    json.dumps(
                        built.table(name).to_pylist(),
                        default=lambda value: value.hex() if isinstance(value, bytes) else str(value),
                    )
                )
            )
        elif name.endswith((".json", ".bin")) and name != "resolved.json":
            data = built.read_bytes(name)
        else:
            continue
        found.update(name.encode() + b"\0" + data + b"\0")
    return found.hexdigest()[:16]


def batches(built: Built) -> str:
    """The batches of a training run: what of it depends on no machine."""
    dataset = Dataset(built)
    ids = [dataset.batch(seed=0, step=step, size=3, fim=FIM(0.7, 0.5)) for step in range(6)]
    return hashlib.sha256(np.stack(ids).astype("<i4").tobytes()).hexdigest()[:16]


def test_a_changed_output_comes_with_a_raised_version(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    built = small.built(small.journey(small.fixed_source(tmp_path)), tmp_path / "store")
    now = {}
    for step, one in built.items():
        if step == "pretrain":
            now[step] = [one.manifest["version"], batches(built["pack"])]
        else:
            now[step] = [one.manifest["version"], digest(one)]
    if request.config.getoption("--update-versions"):
        KEPT.write_text(json.dumps(now, indent=2) + "\n")
    kept = json.loads(KEPT.read_text())
    for step, (version, found) in now.items():
        assert step in kept, f"{step} is new: run with --update-versions"
        if version == kept[step][0]:
            assert found == kept[step][1], f"{step} puts out something else under the same version {version}: raise it"
