"""What a dataset card says of personal data, benchmarks, those who opted out, and what none of it can promise.

*Covered*: what the steps of this corpus did, by their manifests. *Not covered*: whether it was enough.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator, Sequence

from starloom.report import plain
from starloom.report.documents import Corpus
from starloom.report.markdown import inline, table
from starloom.store import Built


def of_class(builts: Sequence[Built], name: str) -> list[Built]:
    """The directories that a stage of this class built."""
    return [one for one in builts if one.manifest["stage"].rpartition(":")[2] == name]


def personal_data(corpus: Corpus) -> Iterator[str]:
    yield "\n## Personal data"
    found = of_class(corpus.basis.spoken, "FindPII")
    if not found or corpus.basis.mix is None:
        yield "\nNothing was searched for personal data, and nothing of it was replaced."
        return
    mix = corpus.basis.mix.manifest
    redacted = mix["inputs"].get("redact") in [one.fingerprint for one in found]
    rows = [[kind, plain.count(number)] for one in found for kind, number in one.counts.get("found", {}).items()]
    yield from table(["kind", "found"], rows, right=(1,))
    files = sum(one.counts.get("files", 0) for one in found)
    if redacted:
        way = mix["settings"].get("redaction")
        how = f"`{way}`" if way else f"as the layout {inline(str(mix['settings'].get('layout')))} was published"
        yield (
            f"Found in {plain.several(files, 'file')}, of those that were read, kept or not. Each was replaced ({how}), the "
            "same value in a file by the same replacement; the edits of a row say where."
        )
    else:
        yield f"Found in {plain.several(files, 'file')}, and left as it is: the mix redacts nothing."


def decontamination(corpus: Corpus) -> Iterator[str]:
    yield "\n## Decontamination"
    steps = of_class(corpus.basis.verdicts, "Decontaminate")
    if not steps:
        yield "\nNo benchmark was searched for."
    for one in steps:
        outside, counts = one.manifest["externals"]["problems"], one.counts
        holders = counts.get("rows_in", 0) - counts.get("rows_out", 0)
        met = Counter(problem.partition(":")[0] for problem in counts.get("problems", {}))
        yield (
            f"\nBenchmarks: {inline(', '.join(_names(outside['value'])))} (digest {inline(outside['digest'])}). Left out, because "
            f"they hold a problem or its solution: {holders:,} of {plain.several(counts.get('rows_in', 0), 'file')}. "
            f"Problems that were met: {inline(', '.join(f'{name} {number:,}' for name, number in sorted(met.items())) or 'none')}."
        )


def _names(value: str) -> list[str]:
    """The texts of a tuple as a manifest spells it; what is none, as it stands."""
    try:
        found = ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return [value]
    return list(map(str, found)) if isinstance(found, tuple) else [value]


def opting_out(corpus: Corpus) -> Iterator[str]:
    yield "\n## Opting out"
    steps = of_class(corpus.basis.verdicts, "OptOut")
    if not steps:
        yield "\nNo list of requests was given."
    for one in steps:
        counts = one.counts
        rows = counts.get("rows_in", 0) - counts.get("rows_out", 0)
        yield (
            f"\n{plain.several(counts.get('requests', 0), 'request')} (SHA-256 of the list "
            f"{one.manifest['externals']['requests']['digest']}) removed {plain.several(rows, 'file')}. "
            f"`{one.directory.name}/receipt.json` says of each request what it removed."
        )


def limits(corpus: Corpus) -> Iterator[str]:
    yield "\n## Limitations\n"
    yield "- A license was read by program from what packages and files say. It may be wrong, and it is no legal advice."
    if of_class(corpus.basis.spoken, "FindPII"):
        yield "- Personal data and secrets are found by patterns, or by a model that errs too. Some remain."
    else:
        yield "- Personal data and secrets in the files are as they were published."
    if of_class(corpus.basis.verdicts, "Decontaminate"):
        yield "- A benchmark's problem that was reworded, or solved in other statements, is not recognized."
    else:
        yield "- Benchmarks may be in it: scores on them are to be read with that in mind."
    if of_class(corpus.basis.groups, "NearDedup"):
        yield "- Candidates for near-duplicates are found with high probability, not with certainty."
    yield "- Code is as its authors wrote it: with errors, weaknesses, and views in comments that nobody endorses here."
