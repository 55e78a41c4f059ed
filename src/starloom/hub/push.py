"""Pushing to a hub: each local commit becomes one there, in order, on the branch of its revision.

A hub makes its own commit ids (its commits have a clock and an author), so the chain of parents is kept, and which commit is which:
in the message of the commit there (`Starloom-Commit: ID`), and in `.starloom/pushed/`, our copy of that. A push that was killed is
started again: it asks the hub what it has, so that no commit is made twice, also where the hub made one and the answer was lost.
Nothing on a hub is ever rewritten: a branch that holds something else is refused.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from starloom import store
from starloom.errors import DamagedError, HubError, MissingExtraError, suggestion
from starloom.hub.commit import TRAILER, Commit, File, file_of
from starloom.hub.layout import Repository
from starloom.models.revisions import MAIN, Name
from starloom.progress import Progress
from starloom.report import plain

if TYPE_CHECKING:
    from huggingface_hub import HfApi

_TRAILER: Final = re.compile(rf"^{TRAILER}: ([0-9a-f]{{40}})$", re.MULTILINE)


@dataclass(slots=True)
class Pushed:
    """What a hub holds after a push: branch → local commit → commit there."""

    endpoint: str
    repository: str
    branches: dict[str, dict[str, str]] = field(default_factory=dict)
    made: int = 0  # commits that this push made
    path: Path = Path()  # where the map is kept


def push(
    repository: Repository,
    to: str,
    *,
    endpoint: str | None = None,
    token: str | bool | None = None,
    private: bool = True,
    only: Sequence[str] = (),
    progress: Progress | None = None,
    bars: bool = False,
) -> Pushed:
    """Push the revisions of a published model (or `only` some) to the repository `to`, which is made where it is missing.

    `token`: a text, True for the one that `hf auth login` saved, False for none. `bars`:
    whether huggingface_hub shows its own, of single files. Raises HubError for what the hub refuses,
    DamagedError rather than send damaged bytes.
    """
    Name.parse(to)
    try:
        from huggingface_hub import HfApi
        from huggingface_hub.utils import disable_progress_bars
    except ModuleNotFoundError as error:
        raise MissingExtraError("huggingface_hub", "hub") from error
    if not bars:
        disable_progress_bars()
    heads = repository.revisions()
    for one in only:
        if one not in heads:
            raise HubError(f"{repository.name} has no revision '{one[:120]}'; {suggestion(one, heads)}")
    wanted = sorted(
        set(only) or heads, key=lambda one: (one != MAIN, one)
    )  # `main` first: others can start from its commits
    api = HfApi(endpoint=endpoint, token=token)
    progress = progress or Progress()
    with repository.alone("pushing"), _errors_of(api.endpoint, to):
        api.create_repo(to, private=private, exist_ok=True)
        pushed = Pushed(api.endpoint, to, path=repository.own / "pushed" / f"{_digest(api.endpoint, to)}.json")
        there = _There(api, to, pushed)
        sound: set[str] = set()
        for revision in wanted:
            chain = repository.log(heads[revision])[::-1]
            done = there.start(revision, [commit.id for commit in chain])
            for commit in chain[done:]:
                before = repository.read(commit.parent).files if commit.parent else {}
                _check(repository, commit, sound)
                oid = there.commit(revision, commit, _operations(repository, commit, before))
                progress.line(f"{revision:<14} {commit.title}  {commit.id[:12]} → {oid[:12]}")
            if done == len(chain):
                progress.line(f"{revision:<14} is there, at {there.heads[revision][:12]}")
            there.remember()
    return pushed


class _There:
    """The repository on the hub: its branches, and which of its commits are ours."""

    def __init__(self, api: HfApi, to: str, pushed: Pushed) -> None:
        self.api, self.to, self.pushed = api, to, pushed
        self.heads = {one.name: one.target_commit for one in api.list_repo_refs(to).branches}
        self._first = ""  # the hub's own first commit, which everything starts from
        for branch in self.heads:
            commits = api.list_repo_commits(to, revision=branch)  # the newest first
            ours = ((_TRAILER.search(one.message), one.commit_id) for one in reversed(commits))
            pushed.branches[branch] = {found[1]: oid for found, oid in ours if found}
            if branch == MAIN and commits:
                self._first = commits[-1].commit_id

    def start(self, branch: str, chain: Sequence[str]) -> int:
        """How many commits of a chain the branch holds already; a branch that is missing is made. Raises HubError."""
        if branch not in self.heads:
            done, origin = max(
                ((_shared(chain, ours), ours) for ours in self.pushed.branches.values()),
                key=lambda pair: pair[0],
                default=(0, {}),
            )
            at = origin[chain[done - 1]] if done else self._first
            if not at:
                raise HubError(f"{self.to} has no branch '{MAIN}' to start '{branch}' from; push to a new repository")
            self.api.create_branch(self.to, branch=branch, revision=at)
            self.heads[branch] = at
            self.pushed.branches[branch] = {one: origin[one] for one in chain[:done]}
            return done
        ours, head = self.pushed.branches[branch], self.heads[branch]
        if not ours and head == self._first:
            return 0
        done = _shared(chain, ours)
        if not done or ours[chain[done - 1]] != head:
            raise HubError(
                f"branch '{branch}' of {self.to} stands at {head}, which is none of this revision's commits; starloom rewrites "
                "nothing on a hub: push to another repository, or remove that branch there"
            )
        return done

    def commit(self, branch: str, commit: Commit, operations: list[Any]) -> str:
        """Make a commit on a branch, on top of the one that we know to be there."""
        title, _, body = commit.message.partition("\n")
        made = self.api.create_commit(
            self.to,
            operations,
            commit_message=title,
            commit_description=f"{body.strip()}\n{TRAILER}: {commit.id}",
            revision=branch,
            parent_commit=self.heads[branch],
        )
        self.pushed.made += made.oid != self.heads[branch]
        self.heads[branch] = self.pushed.branches[branch][commit.id] = made.oid
        self.remember()
        return str(made.oid)

    def remember(self) -> None:
        """Keep the map beside the model."""
        path = self.pushed.path
        path.parent.mkdir(exist_ok=True)
        said = {"endpoint": self.pushed.endpoint, "repository": self.to}
        branches = {branch: ours for branch, ours in self.pushed.branches.items() if ours}
        store.write_atomically(path, store.sealed_json({**said, "branches": branches}))


def _shared(chain: Sequence[str], known: dict[str, str]) -> int:
    """How many commits of a chain, from its first, are known."""
    return next((place for place, one in enumerate(chain) if one not in known), len(chain))


def _check(repository: Repository, commit: Commit, sound: set[str]) -> None:
    """Raise DamagedError for content that is not what the commit says."""
    for name, file in commit.files.items():
        if file.blob not in sound:
            try:
                whole = file_of(name, repository.blob(file)) == file
            except OSError:
                whole = False
            if not whole:
                raise DamagedError(
                    f"{repository.blob(file)}, {name} of commit {commit.id}, is missing or damaged, and is not pushed; publish "
                    "its revision again"
                )
            sound.add(file.blob)


def _operations(repository: Repository, commit: Commit, before: Any) -> list[Any]:
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    def changed(name: str, file: File) -> bool:
        return name not in before or before[name] != file

    added = [
        CommitOperationAdd(name, repository.blob(file)) for name, file in commit.files.items() if changed(name, file)
    ]
    return [*added, *(CommitOperationDelete(name) for name in before if name not in commit.files)]


def _digest(*texts: str) -> str:
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:16]


@contextmanager
def _errors_of(endpoint: str, to: str) -> Iterator[None]:
    """What the library raises, as one line that says what to do."""
    from huggingface_hub.errors import HfHubHTTPError

    # HfHubHTTPError is an error of the HTTP library that this release uses: its bases are what a lost connection raises
    failures: tuple[type[Exception], ...] = (*HfHubHTTPError.__bases__, ValueError, RuntimeError, LookupError)
    try:
        yield
    except failures as error:
        said = plain.visible(" ".join(f"{error} {error.__cause__ or ''}".split()))[:400]
        raise HubError(
            f"pushing to {to} at {endpoint} failed ({type(error).__name__}: {said}); what was pushed stays: mend that and run "
            "the same command again, it goes on from there"
        ) from error
