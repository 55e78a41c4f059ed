"""Runs every reference solution of the multi-language benchmarks through its own tests and writes which do not pass, and why.

    python tools/weak_exceptions.py DATA [BENCHMARK:LANGUAGE …]

DATA is a folder of benchmarks as `starloom.problems` reads it. What is written, src/starloom/evals/judges/exceptions.json, is
read by the tasks, shown in results, and held by a slow test. Languages without a toolchain keep what is written of them.
"""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from pathlib import Path

from starloom.evals.bench import Bench
from starloom.evals.judges.exceptions import PLACE, by_chance, swept
from starloom.evals.verdict import Verdict
from starloom.problems import load

PAIRS = (
    *(("humaneval-x", language) for language in ("C++", "Java", "JavaScript", "Python")),
    *(("humanevalpack", language) for language in ("C++", "Go", "Java", "JavaScript", "Python", "Rust")),
    ("multilingual-humaneval", "Python"),
    *(("mbxp", language) for language in ("C++", "Java", "JavaScript", "PHP", "Ruby", "TypeScript")),
)


def reason(verdict: Verdict) -> str:
    if verdict.status == "end_not_reached":
        return "wrong reference: ends the program before its tests are done"
    if "Cannot find module" in verdict.stderr or "MODULE_NOT_FOUND" in verdict.stderr:
        return f"missing library: {verdict.detail}"
    words = {"wrong_answer": "fails its tests", "raised": "raises", "does_not_compile": "does not compile"}
    detail = re.sub(r" in /box/home/.*", "", verdict.detail)
    return f"wrong reference: {words.get(verdict.status, verdict.status.replace('_', ' '))}: {detail}"


def main() -> None:
    data, *wanted = sys.argv[1:]
    table = json.loads(PLACE.read_text()) if PLACE.exists() else {}
    with Bench(workers=2, data=data) as bench:
        for benchmark, language in PAIRS:
            if wanted and f"{benchmark}:{language}" not in wanted:
                continue
            found = swept(bench, load(benchmark, data, language))
            count = Counter(verdict.status for _, verdict in found)
            print(f"{benchmark}:{language} {len(found)} references {dict(count)}", flush=True)
            if count["toolchain_missing"] or count["harness_error"]:
                continue
            old = table.get(benchmark, {}).get(language, {})
            told = {p.id: reason(v)[:200] for p, v in found if not v.passed}
            told |= {id: why for id, why in old.items() if by_chance(why)}
            table.setdefault(benchmark, {})[language] = told
            lines = json.dumps(table, indent=1, ensure_ascii=False, sort_keys=True)
            Path(PLACE).write_text(f"{lines}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
