"""The dataset card: what a corpus is, where it comes from, what was dropped and why, in the Markdown of a model hub.

Every figure is from a manifest or a table of the steps; every name from outside is escaped.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

from starloom.report import facts, plain
from starloom.report.documents import Amount, Corpus
from starloom.report.facts import Steps
from starloom.report.languages import LARGEST, kept, total
from starloom.report.markdown import block, front_matter, inline, table
from starloom.report.meanings import meanings
from starloom.report.safeguards import decontamination, limits, of_class, opting_out, personal_data
from starloom.report.show import flattened

REPOSITORIES = 20  # the largest, named on the card
SPLITS = {"train": "training", "heldout": "held out"}
# the hub's names for how many rows there are, by their digits: up to three, four, five, …
_SIZES = ("n<1K", "1K<n<10K", "10K<n<100K", "100K<n<1M", "1M<n<10M", "10M<n<100M", "100M<n<1B", "1B<n<10B")


def dataset_card(steps: Steps, corpus: Corpus, title: str, recipe: str = "") -> str:
    """The card of a corpus that was mixed; `recipe` is the command that builds it."""
    sections = (
        _head(corpus, title),
        _sources(corpus),
        _languages(corpus),
        _licenses(corpus),
        _dropped(corpus),
        _duplicates(corpus),
        personal_data(corpus),
        decontamination(corpus),
        opting_out(corpus),
        _held_out(corpus),
        _tokens(steps, corpus),
        _rebuilding(steps, recipe),
        limits(corpus),
    )
    return "\n".join(line for section in sections for line in section).replace("\n\n\n", "\n\n") + "\n"


def _head(corpus: Corpus, title: str) -> Iterator[str]:
    everything, repositories = corpus.all, corpus.tables["repository"]
    kept_repositories = sum(one.kept_files > 0 for one in repositories.values())
    rows = corpus.basis.mix.counts.get("documents", everything.kept_files) if corpus.basis.mix else 0
    yield from front_matter(
        {
            "pretty_name": title,
            "license": "other",
            "language": ["code"],
            "task_categories": ["text-generation"],
            "size_categories": [_SIZES[min(max(len(str(rows)) - 3, 0), len(_SIZES) - 1)]],
            "annotations_creators": ["no-annotation"],
            "language_creators": ["found"],
            "source_datasets": ["original"],
            "tags": ["code", "starloom"],
        }
    )
    yield f"\n# {inline(title)}\n"
    yield (
        f"Source code for training language models: {plain.several(everything.kept_files, 'file')} "
        f"({plain.size(everything.kept_bytes)}) of {plain.count(everything.files)} that were read "
        f"({plain.size(everything.size_bytes)}), from {kept_repositories:,} of {len(repositories):,} repositories. "
        "Each of the others was dropped for a reason, which is counted below and kept on disk with its id."
    )
    skipped = corpus.basis.read.counts.get("dropped", {})
    if skipped:
        named = ", ".join(f"{plain.words(reason)} {plain.count(number)}" for reason, number in skipped.items())
        yield f"\nNot read at all, and counted only: {inline(named)}."
    yield from table(
        ["split", "files", "bytes", *_if_tokens(corpus, "tokens")],
        [
            [
                SPLITS.get(name, name),
                plain.count(one.files),
                plain.size(one.size_bytes),
                *_if_tokens(corpus, plain.count(one.tokens)),
            ]
            for name, one in sorted(corpus.splits.items(), reverse=True)
        ],
        right=(1, 2, 3),
    )
    if corpus.languages.census:
        yield "Tokens are those of the texts as they were read, under the vocabulary that was trained on this corpus."
    yield (
        "\nThe data are the `part-*.parquet` files of the mix: a row is one training text, in parts "
        "{control, text, source, field}. `source` is the id of the file a part comes from; its byte ranges lead back to it."
    )


def _if_tokens(corpus: Corpus, *cells: str) -> list[str]:
    return list(cells) if corpus.languages.census else []


def _sources(corpus: Corpus) -> Iterator[str]:
    yield "\n## Sources"
    manifest = corpus.basis.read.manifest
    outside = [(name, one["value"], one["digest"]) for name, one in manifest["externals"].items()]
    yield from table(["what", "value", "digest"], outside)
    yield "The repositories of which most was kept:"
    yield from _amounts("repository", corpus.tables["repository"], REPOSITORIES)


def _amounts(name: str, counted: Mapping[str, Amount], most: int) -> Iterator[str]:
    ordered = sorted(counted.items(), key=lambda item: (-item[1].kept_bytes, -item[1].size_bytes, item[0]))
    rows = [
        [value, plain.count(one.kept_files), plain.size(one.kept_bytes), plain.count(one.files)]
        for value, one in ordered[:most]
    ]
    rest = Amount()
    for _, one in ordered[most:]:
        rest.kept_files, rest.kept_bytes = rest.kept_files + one.kept_files, rest.kept_bytes + one.kept_bytes
        rest.files += one.files
    if ordered[most:]:
        others = f"{len(ordered) - most:,} more"
        rows.append([others, plain.count(rest.kept_files), plain.size(rest.kept_bytes), plain.count(rest.files)])
    yield from table([name, "files", "bytes", "files read"], rows, right=(1, 2, 3))


def _languages(corpus: Corpus) -> Iterator[str]:
    if not corpus.languages.ends:
        return
    yield "\n## Languages"
    rows = []
    for name, counted in corpus.languages.folded(LARGEST):
        stays, read = kept(counted), total(counted.values())
        row = [name, plain.count(stays.files), plain.size(stays.size_bytes)]
        row.append(plain.share(stays.size_bytes, corpus.all.kept_bytes))
        if corpus.languages.census:
            ratio = stays.bytes_per_token
            row += [plain.count(stays.tokens), "–" if ratio is None else f"{ratio:.2f}"]
        rows.append([*row, plain.count(read.files), plain.size(read.size_bytes)])
    head = ["language", "files", "bytes", "share", *_if_tokens(corpus, "tokens", "bytes per token")]
    yield from table([*head, "files read", "bytes read"], rows, right=range(1, 8))
    yield "`languages.json` beside this card has every language, and what was left of it after each step."


def _licenses(corpus: Corpus) -> Iterator[str]:
    found = next((name for name in corpus.tables if name.partition(":")[0] == "license"), None)
    if found is None:
        return
    yield "\n## Licenses"
    yield (
        "\nSPDX expressions as they were found for each file: in what its package says, in its own header, or in the "
        "license files above it. Each file keeps its own license; the corpus has none beside these."
    )
    yield from _amounts("license", corpus.tables[found], LARGEST)


def _dropped(corpus: Corpus) -> Iterator[str]:
    yield "\n## What was dropped, and why"
    if not corpus.dropped:
        yield "\nNothing was dropped."
        return
    applied: dict[str, int] = {}
    for one in corpus.basis.verdicts:
        for reason, number in (one.counts.get("applied") or one.counts.get("dropped", {})).items():
            applied[reason] = max(applied.get(reason, 0), number)
    said = meanings(list(corpus.dropped), corpus.basis.verdicts)
    rows = [
        [
            reason,
            ", ".join(corpus.steps_of(reason)),
            plain.count(one.files),
            plain.size(one.size_bytes),
            *_if_tokens(corpus, plain.count(one.tokens)),
            plain.count(max(applied.get(reason, 0), one.files)),
            said[reason],
        ]
        for reason, one in corpus.dropped.items()
    ]
    yield (
        "\nA file counts for the first reason against it, in the order of the steps; `applies to` is how many files the "
        "reason holds for in all, whatever dropped them first."
    )
    head = ["reason", "step", "files", "bytes", *_if_tokens(corpus, "tokens"), "applies to", "meaning"]
    yield from table(head, rows, right=range(2, len(head) - 1))


def _duplicates(corpus: Corpus) -> Iterator[str]:
    if not corpus.duplicates:
        return
    yield "\n## Duplicates"
    yield (
        "\nOf each component of duplicates, taken over the files that everything else keeps, one stays: the one with the "
        "most permissive type of license, then with most stars, most forks, the latest date; last by its id."
    )
    rows = []
    for built, one in zip(corpus.basis.groups, corpus.duplicates, strict=True):
        settings = ", ".join(f"{name} {text}" for name, text in flattened(built.manifest["settings"]))
        dropped = plain.count(one.dropped)
        rows.append([one.step, plain.count(one.groups), plain.count(one.files), dropped, settings or "none"])
    yield from table(["step", "groups", "files in them", "dropped", "settings"], rows, right=(1, 2, 3))
    if of_class(corpus.basis.groups, "NearDedup"):
        yield (
            "Near-duplicates are found by MinHash with bands and then verified: a pair counts when the Jaccard similarity "
            "of its sets of shingles, computed exactly, reaches the threshold. Too short files take no part."
        )


def _held_out(corpus: Corpus) -> Iterator[str]:
    if corpus.basis.mix is None:
        return
    yield "\n## Held out"
    settings = corpus.basis.mix.manifest["settings"]
    yield (
        f"\n{plain.several(len(corpus.held_out), 'group')} of {plain.count(len(corpus.held_out) + len(corpus.trained))} "
        f"{'is' if len(corpus.held_out) == 1 else 'are'} held out (share {settings.get('heldout')}, seed "
        f"{settings.get('seed')}): a repository, or a top-level part of it where there is one only, is on one side."
    )
    if corpus.validation:
        yield from _amounts("validation set", corpus.validation, LARGEST)


def _tokens(steps: Steps, corpus: Corpus) -> Iterator[str]:
    census = corpus.basis.census
    packs = [one for one in steps.of("pack") if corpus.basis.mix in steps.inputs(one, "mix")]
    vocabularies = steps.inputs(census, "vocabulary") if census else []
    if not (vocabularies or packs):
        return
    yield "\n## Tokenizer"
    for one in vocabularies:
        settings = ", ".join(f"{name} {text}" for name, text in flattened(one.manifest["settings"]))
        yield f"\n{plain.count(facts.vocabulary_size(one))} tokens, byte-level BPE trained on the training split ({inline(settings)})."
    if corpus.languages.ends and census:
        read = total(tally for counted in corpus.languages.ends.values() for tally in counted.values())
        stays = total(kept(counted) for counted in corpus.languages.ends.values())
        rows = [
            [name, plain.count(one.tokens), *(f"{figure:.3f}" if figure else "–" for figure in figures)]
            for name, one in (("all files that were read", read), ("files that were kept", stays))
            for figures in [(one.bytes_per_token, one.characters_per_token)]
        ]
        yield from table(["texts", "tokens", "bytes per token", "characters per token"], rows, right=(1, 2, 3))
    for pack in packs:
        packed = facts.packed_tokens(steps, pack)
        said = ", ".join(f"{plain.count(tokens)} {SPLITS.get(name, name)}" for name, _, tokens, _ in packed.splits)
        yield f"\nPacked for training, with control tokens and after redaction: {said} tokens."


def _rebuilding(steps: Steps, recipe: str) -> Iterator[str]:
    yield "\n## Rebuilding it"
    yield (
        "\nEach step is a directory named by its fingerprint, which covers its settings, its version, what lies outside "
        "and the steps before it: the same fingerprint has the same data. `starloom verify` checks a directory, "
        "`starloom follow` leads a file to its tokens and back."
    )
    if recipe:
        yield from block(recipe, "sh")
    rows = []
    for one in steps.all:
        manifest = one.manifest
        rows.append([one.name, manifest["stage"], str(manifest["version"]), manifest["fingerprint"], manifest["code"]])
    yield from table(["step", "stage", "version", "fingerprint", "code"], rows)
    lines = [
        f"{json.dumps(one.name)}: {json.dumps(one.manifest['settings'], ensure_ascii=False)}"
        for one in steps.all
        if one.manifest["settings"]
    ]
    yield "Settings:"
    yield from block("{\n" + ",\n".join(lines) + "\n}", "json")
