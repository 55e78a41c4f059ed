"""Finding personal data: precision and recall on the labelled samples, and speed on real files, beside BigCode's pipeline.

    git clone https://github.com/bigcode-project/bigcode-dataset DIR
    python -m venv PEER && PEER/bin/pip install detect-secrets==1.5.0 gibberish-detector regex   # for this script only
    python benchmarks/pii.py [--bigcode DIR/pii --peer PEER/bin/python] [--megabytes 40] [--peer-megabytes 2]

BigCode's expressions for e-mails and IPs, and detect-secrets with its gibberish and hash guards for keys, run from their
checkout in the peer's Python. Its redaction leaves private addresses and popular resolvers alone; they are taken out of
what it found, so that both are measured on what would be replaced. Spans count as the same when they overlap by more
than 0.8 of each (`pii/utils/evaluation.py`); addresses at example.com count neither way. Speed is CPU time of one
process on files of installed packages, and on 1 MB of each bait for runaway patterns. Appends one line to
benchmarks/results/pii.jsonl.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import sysconfig
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from corpus.pii_samples import Label, Sample, samples, scored
from corpus.test_pii import BAIT
from starloom.corpus.pii import find_pii
from starloom.corpus.pii_addresses import POPULAR_DNS, find_emails, find_ips
from starloom.corpus.pii_keys import find_keys

RESULTS = Path(__file__).parent / "results" / "pii.jsonl"
KINDS = ("EMAIL", "IP_ADDRESS", "KEY")
SUFFIXES = {".py", ".js", ".ts", ".c", ".h", ".hpp", ".css", ".json", ".txt", ".html", ".md"}
PEER = """
import ipaddress, json, sys, time
sys.path.insert(0, ".")
from utils.emails_ip_addresses_detection import detect_email_addresses
from utils.keys_detection import detect_keys
popular = set(json.loads(sys.argv[1]))
for line in sys.stdin:
    text = json.loads(line)
    began = time.process_time()
    found = detect_email_addresses(text)
    between = time.process_time()
    found += detect_keys(text)
    ended = time.process_time()
    found = [one for one in found if one["tag"] != "IP_ADDRESS"
             or not (ipaddress.ip_address(one["value"]).is_private or one["value"] in popular)]
    print("\\0" + json.dumps([[(one["start"], one["end"], one["tag"]) for one in found], between - began, ended - between]))
"""


def peer(python: str, folder: Path, texts: list[str]) -> tuple[list[list[Label]], float, float]:
    """What BigCode's pipeline finds in each text, in bytes, and its CPU seconds for addresses and for keys."""
    said = subprocess.run(
        [python, "-c", PEER, json.dumps(sorted(POPULAR_DNS))],
        input="".join(json.dumps(text) + "\n" for text in texts),
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )
    lines = [line for line in said.stdout.split("\n") if line.startswith("\0")]  # it says other things too
    found, seconds = [], [0.0, 0.0]
    for text, line in zip(texts, lines, strict=True):
        spans, addresses, keys = json.loads(line[1:])
        seconds[0] += addresses
        seconds[1] += keys
        found.append(
            [
                Label(len(text[:a].encode()), len(text[:b].encode()), tag)
                for a, b, tag in dict.fromkeys(map(tuple, spans))
            ]
        )
    return found, seconds[0], seconds[1]


def figures(every: list[Sample], found: list[list[Label]]) -> dict[str, Any]:
    result = {}
    for kind in KINDS:
        score = scored(kind, zip(every, found, strict=True))
        result[kind] = {
            "precision": round(score.precision, 4),
            "recall": round(score.recall, 4),
            "labels": score.labels,
        }
    return result


def real_texts(most: int) -> list[str]:
    """Files of installed packages, every third by the order of paths."""
    paths = sorted(path for path in Path(sysconfig.get_paths()["purelib"]).rglob("*") if path.suffix in SUFFIXES)
    texts, size = [], 0
    for path in paths[::3]:
        if size >= most or not path.is_file() or path.stat().st_size > 1 << 20:
            continue
        try:
            texts.append(path.read_text("utf-8"))
        except UnicodeDecodeError:
            continue
        size += len(texts[-1].encode())
    return texts


def seconds_of(function: Any, texts: list[Any]) -> float:
    began = time.process_time()
    for text in texts:
        list(function(text))
    return time.process_time() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bigcode", type=Path)
    parser.add_argument("--peer", default=sys.executable)
    parser.add_argument("--megabytes", type=float, default=40)
    parser.add_argument("--peer-megabytes", type=float, default=2)
    given = parser.parse_args()
    result: dict[str, Any] = {
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
    }
    for name in ("tuning", "heldout", "second"):
        every = samples(name)
        result[name] = {
            "samples": len(every),
            "ours": figures(every, [[Label(*one) for one in find_pii(sample.text)] for sample in every]),
        }
        if given.bigcode:
            result[name]["bigcode"] = figures(every, peer(given.peer, given.bigcode, [one.text for one in every])[0])
    texts = real_texts(int(given.megabytes * 1e6))
    data = [text.encode() for text in texts]
    size = sum(map(len, data)) / 1e6
    result["megabytes"] = round(size, 1)
    for label, function, what in (
        ("all", find_pii, texts), ("emails", find_emails, data), ("ips", find_ips, data), ("keys", find_keys, data)
    ):  # fmt: skip
        result[f"{label}_mb_per_s"] = round(size / seconds_of(function, list(what)), 1)
    result["bait_seconds_per_mb"] = {
        name: round(seconds_of(find_pii, [bait * (1_000_000 // len(bait))]), 2) for name, bait in BAIT.items()
    }
    if given.bigcode:
        some, total = [], 0
        for text in texts[::7]:
            if total < given.peer_megabytes * 1e6:
                some.append(text)
                total += len(text.encode())
        _, addresses, keys = peer(given.peer, given.bigcode, some)
        ours = seconds_of(find_pii, some)
        result["bigcode_mb_per_s"] = round(total / 1e6 / (addresses + keys), 3)
        result["bigcode_addresses_mb_per_s"] = round(total / 1e6 / addresses, 3)
        result["times_as_fast_on_the_same_files"] = round((addresses + keys) / ours, 1)
    print(json.dumps(result, indent=2))
    RESULTS.parent.mkdir(exist_ok=True)
    with RESULTS.open("a") as lines:
        lines.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
