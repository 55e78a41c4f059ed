"""The whole station: `starloom run corpus` on a list of sources, its time, its steps and the memory of all its processes.

    python benchmarks/corpus_station.py examples/packages.txt [--flag of the recipe …]

Memory is the largest sum of proportional set sizes (PSS) of the driver and its workers, twice a second, so that what they
share counts once. Packages are fetched before, by an unmeasured `--until read` into another store.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

RESULTS = Path(__file__).parent / "results" / "corpus_station.jsonl"


def processes_of(leader: int) -> list[int]:
    """A process and its descendants."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
    found = {leader}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return sorted(found)


def pss_bytes(process: int) -> int:
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


def main() -> None:
    sources, *flags = sys.argv[1:]
    recipe = [sys.executable, "-m", "starloom", "run", "corpus", "--sources", sources, "--json"]
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(
            [*recipe, "--until", "read", "--store", f"{folder}/fetched"], check=True, stdout=subprocess.DEVNULL
        )
        started, most = time.monotonic(), 0
        with (Path(folder) / "out.json").open("wb") as out:
            process = subprocess.Popen([*recipe, *flags, "--store", f"{folder}/store"], stdout=out)
            while process.poll() is None:
                most = max(most, sum(map(pss_bytes, processes_of(process.pid))))
                time.sleep(0.5)
        seconds = time.monotonic() - started
        if process.returncode:
            raise SystemExit(process.returncode)
        steps = json.loads((Path(folder) / "out.json").read_text())["steps"]
        text = steps["census"]["counts"]["bytes"]
    row = {
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "sources": Path(sources).name,
        "flags": flags,
        "files": steps["read"]["counts"]["rows_out"],
        "text_bytes": text,
        "tokens": steps["census"]["counts"]["tokens"],
        "seconds": round(seconds, 1),
        "peak_pss_bytes": most,
        "steps": {name: round(step["seconds"], 1) for name, step in steps.items()},
    }
    print(json.dumps(row, indent=1))
    with RESULTS.open("a") as file:
        file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
