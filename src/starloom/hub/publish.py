"""Publishing: a finished run and its kept checkpoints become the commits of a revision, in a hub folder.

A function and not a stage: what a stage builds is its own directory, and where that stands the stage is skipped; a hub folder is a
view of many directories that can be removed and must come back. So a recipe's command calls this when everything is built, as it
links `models/RECIPE`. Publishing what is published does nothing, and mends what is damaged.

What is published does not depend on the store any more. Small files are copies. Weights are hard links where the file system allows
it (else copies): a second name for the same bytes, so that deleting a run, an opt-out purge or a repair, all of which write new files
and never into old ones, leaves them as they are, and equal weights take room once. Only who writes *into* a published weight file
changes both; `starloom hub verify` finds that.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from starloom import store
from starloom.errors import DamagedError, HubError
from starloom.hub.card import Card, card
from starloom.hub.commit import Commit, File, file_of
from starloom.hub.layout import Repository
from starloom.models import checkpoint, revisions
from starloom.models.config import ModelConfig
from starloom.models.revisions import Name
from starloom.store import Built
from starloom.tokens.bpe import Vocabulary

README: Final = "README.md"
_MODEL: Final = re.compile(
    r"config\.json|generation_config\.json|model(-\d{5}-of-\d{5})?\.safetensors|model\.safetensors\.index\.json|"
    r"tokenizer\.json|tokenizer_config\.json|special_tokens_map\.json|added_tokens\.json|vocab\.json|merges\.txt|"
    r"chat_template\.jinja"
)
_BOOKKEEPING: Final = (store.MANIFEST, store.UNITS, store.SCRATCH)  # of a stage's directory


def publish(
    hub: Path,
    name: str,
    revision: str,
    built: Built,
    kept: Sequence[tuple[int, Path]] = (),
    *,
    parent: str | None = None,
    also: Sequence[str] = (),
    about: Card | None = None,
) -> Commit:
    """Publish a trained model as a revision of `name`, and its kept checkpoints, (step, folder), as the commits before it.

    New commits go on top of the revision, or, where it is new, of the commit `parent`; what its history holds already is not
    repeated. At the end `revision` and the revisions of `also`, such as `main`, stand at the finished model. Raises HubError
    for a name that cannot be or a folder with foreign files, CheckpointError or TokenizerError for one that does not load,
    DamagedError for bytes that are not those of the manifest.
    """
    pointed = [revisions.check_revision(one) for one in (revision, *also)]
    _distinct(pointed)
    repository = Repository(hub, Name.parse(name))
    steps = [step for step, _ in kept]
    if len(set(steps)) != len(steps) or any(step < 0 for step in steps):
        raise HubError(
            f"the kept checkpoints of {built.name} are of steps {steps}; each is of a step of its own, from 0 on"
        )
    counted = built.counts.get("steps")
    planned = [*((step, folder, False) for step, folder in sorted(kept)), (counted, built.directory, True)]
    versions = []
    for step, folder, final in planned:
        files, config = _sources(folder, built)
        bare = Commit(None, {}, built.name, built.fingerprint, built.directory.name, step, final)
        files[README] = card(about or Card(), name, revision, config, bare)
        versions.append((files, replace(bare, files={one: _checked(one, files[one], built) for one in sorted(files)})))
    repository.prepare()
    with repository.lock(), store.disk_errors(hub):
        for one in pointed:
            repository.check_free(one)
        history = _history(repository, revision, parent, [version for _, version in versions])
        for files, version in versions:
            commit = next(one for one in history if one.content == version.content)
            for one, file in commit.files.items():
                repository.put(file, files[one])
            repository.write(commit)
        for one in pointed:
            repository.point(one, history[0].id)
    return history[0]


def _history(repository: Repository, revision: str, parent: str | None, versions: Sequence[Commit]) -> list[Commit]:
    """What the revision's history will be, the newest commit first."""
    head = repository.heads().get(revision)
    if parent is not None and not repository.record(parent).is_file():
        raise HubError(f"{repository.name} has no commit '{parent[:80]}' to start revision '{revision}' from; "
                       "`starloom hub show` lists its commits")  # fmt: skip
    anew = _on_top(repository.log(parent), versions)
    if head is None or anew[0].id == head:  # so that what is damaged of it is made anew, unread
        return anew
    history = repository.log(head)
    if parent is not None and parent not in [commit.id for commit in history]:
        raise HubError(f"revision '{revision}' of {repository.name} does not descend from {parent}; leave the parent out, or "
                       "choose another revision")  # fmt: skip
    return _on_top(history, versions)


def _on_top(history: list[Commit], versions: Sequence[Commit]) -> list[Commit]:
    """A history with what it lacks: checkpoints that it does not hold, and the finished model unless it is the newest."""
    for version in versions:
        before = history[:1] if version.final else history
        if version.content not in [commit.content for commit in before]:
            history = [replace(version, parent=history[0].id if history else None), *history]
    return history


def _distinct(pointed: Sequence[str]) -> None:
    """Refuse revisions that cannot stand beside each other, before anything is written."""
    for place, one in enumerate(pointed):
        for other in pointed[:place]:
            if f"{one}/".lower().startswith(f"{other}/".lower()) or f"{other}/".lower().startswith(f"{one}/".lower()):
                raise HubError(f"'{other}' and '{one}' cannot both be revisions; choose another name for one of them")


def _sources(folder: Path, built: Built) -> tuple[dict[str, Path | bytes], ModelConfig]:
    """The files of a folder that make it a model, each a regular file, and its config: all of it loads."""
    found: dict[str, Path | bytes] = {}
    foreign = []
    if not folder.is_dir():
        raise HubError(f"there is no folder {folder} to publish")
    for path in sorted(folder.iterdir()):
        if _MODEL.fullmatch(path.name) and path.is_file() and not path.is_symlink():
            found[path.name] = path
        elif not _known(path, built):
            foreign.append(path.name)
    if foreign:
        more = f" and {len(foreign) - 3} more" if len(foreign) > 3 else ""
        raise HubError(
            f"{folder} holds {', '.join(map(repr, foreign[:3]))}{more}, which is no part of a model that starloom trains; nothing "
            "is published: move it elsewhere"
        )
    config = checkpoint.read_config(folder)
    checkpoint.open_weights(folder, config)
    vocabulary = Vocabulary.load(folder)
    if vocabulary.size > config.vocab_size:
        raise HubError(
            f"the tokenizer of {folder} has {vocabulary.size:,} tokens, its model an embedding for {config.vocab_size:,}: they "
            "do not belong together, and nothing is published"
        )
    return found, config


def _known(path: Path, built: Built) -> bool:
    """Whether something beside the model is the run's own: what its manifest names, and what keeps count of it."""
    if not path.is_relative_to(built.directory):
        return False
    name = path.relative_to(built.directory).as_posix()
    if path.parent == built.directory and name in _BOOKKEEPING:
        return True
    files = built.manifest["files"]
    return name in files or (path.is_dir() and any(one.startswith(f"{name}/") for one in files))


def _checked(name: str, source: Path | bytes, built: Built) -> File:
    """What a file is; of a file that the run's manifest names, what the manifest says it is."""
    file = file_of(name, source)
    if isinstance(source, Path) and source.is_relative_to(built.directory):
        entry = built.manifest["files"].get(source.relative_to(built.directory).as_posix())
        if entry is None:
            raise HubError(f"{source} is not in the manifest of its run; nothing is published: move it elsewhere")
        if (entry["bytes"], entry["sha256"]) != (file.bytes, file.sha256):
            raise DamagedError(
                f"{source} differs from its SHA-256 in the manifest, and nothing is published; run `starloom verify --repair "
                f"{built.directory}`, then its recipe again"
            )
    return file
