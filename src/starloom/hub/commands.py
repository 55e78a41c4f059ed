"""`starloom hub list | show | push | verify`: what is published, whether it is whole, and sending it to a hub."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from starloom import progress
from starloom.errors import ConfigError, DamagedError, HubError, suggestion
from starloom.flags import flag, parse
from starloom.hub.commit import Commit
from starloom.hub.layout import Repository
from starloom.models import revisions
from starloom.models.revisions import Name
from starloom.report import plain

_HUB = "hub folder (default: what HF_HUB_CACHE names, else starloom-store/hub)"
_LOCAL = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, kw_only=True)
class ListFlags:
    """List the models of a hub folder, their revisions and what they take on disk.

    Examples:
      starloom hub list
      starloom hub list --hub starloom-store/hub --json
    """

    hub: Path | None = flag(None, help=_HUB, metavar="DIR")
    json: bool = flag(False, help="print one JSON object")


@dataclass(frozen=True, kw_only=True)
class ShowFlags:
    """Show the revisions of a published model, or the commits and files of one revision.

    Examples:
      starloom hub show me/santacoder
      starloom hub show me/santacoder@no-fim
      starloom hub show me/santacoder@no-fim --json
    """

    model: str = flag(help="OWNER/MODEL, or OWNER/MODEL@REVISION", positional=True)
    hub: Path | None = flag(None, help=_HUB, metavar="DIR")
    json: bool = flag(False, help="print one JSON object")


@dataclass(frozen=True, kw_only=True)
class VerifyFlags:
    """Read every byte that is published, and compare it with its name and record. Exit code 1 when anything differs.

    Examples:
      starloom hub verify                  every model
      starloom hub verify me/santacoder
    """

    model: str | None = flag(None, help="OWNER/MODEL (default: all)", positional=True)
    hub: Path | None = flag(None, help=_HUB, metavar="DIR")
    json: bool = flag(False, help="print one JSON object")


@dataclass(frozen=True, kw_only=True)
class PushFlags:
    """Push a published model to a hub, commit by commit. A push that was stopped goes on where it was; nothing is rewritten.

    The token is that of `hf auth login` or HF_TOKEN where no --endpoint is given; to another none is sent but the one that
    --token-env names. A repository that is missing is made, private unless --public.

    Examples:
      starloom hub push me/santacoder --to me/santacoder-mini
      starloom hub push me/santacoder --to team/model --revision main --revision no-fim
      starloom hub push me/santacoder --to team/model --endpoint https://hub.example --token-env HUB_TOKEN
    """

    model: str = flag(help="OWNER/MODEL", positional=True)
    to: str = flag(help="the repository on the hub", metavar="OWNER/MODEL")
    revision: tuple[str, ...] = flag((), help="push this revision only (repeatable)", metavar="REVISION")
    endpoint: str | None = flag(None, help="the hub's address (default: huggingface.co, or HF_ENDPOINT)", metavar="URL")
    token_env: str | None = flag(None, help="environment variable that holds the token", metavar="NAME")
    public: bool = flag(False, help="make a new repository public")
    hub: Path | None = flag(None, help=_HUB, metavar="DIR")
    json: bool = flag(False, help="print one JSON object")


def hub(argv: Sequence[str]) -> int:
    """The command."""
    if not argv or argv[0] in ("-h", "--help"):
        print(
            "Usage: starloom hub COMMAND [ARGUMENTS]      (starloom hub COMMAND --help for its flags)\n\n"
            "  list    the models of a hub folder and their revisions\n"
            "  show    revisions, commits and files of a published model\n"
            "  verify  check every byte that is published\n"
            "  push    send a published model to a hub, commit by commit\n\n"
            "A hub folder has the layout of the Hugging Face cache. With HF_HUB_CACHE=FOLDER and HF_HUB_OFFLINE=1 set,\n"
            'transformers loads from it: AutoModelForCausalLM.from_pretrained("me/santacoder", revision="no-fim").\n\n'
            "Examples:\n"
            "  starloom hub list\n"
            "  starloom hub show me/santacoder@no-fim\n"
            "  starloom complete me/santacoder@no-fim --prompt 'def read_lines(path):'"
        )
        return 0
    verbs = {"list": _list, "show": _show, "verify": _verify, "push": _push}
    if argv[0] not in verbs:
        raise ConfigError(f"no command 'hub {argv[0][:80]}'; {suggestion(argv[0], verbs)}")
    return verbs[argv[0]](argv[1:])


def _list(argv: Sequence[str]) -> int:
    given = parse(ListFlags, argv, "starloom hub list")
    folder = revisions.hub_folder(given.hub)
    rows = [_row(Repository(folder, Name.parse(name))) for name in revisions.names(folder)]
    if given.json:
        print(json.dumps({"hub": str(folder), "models": rows}, indent=2))
        return 0
    for row in rows:
        print(f"{row['model']}  {plain.size(row['bytes'])}  {', '.join(row['revisions']) or 'no revisions'}")
        if row["damaged"]:
            print(f"  {row['damaged']}")
    if not rows:
        print(f"nothing is published in {folder}")
    return 0


def _row(repository: Repository) -> dict[str, Any]:
    """A model in the list; a damaged one does not hide the others."""
    heads: dict[str, str | None] = {}
    damaged = None
    try:
        heads |= revisions.revisions(repository.root)
    except DamagedError as error:
        heads, damaged = repository.heads(), str(error)
    return {
        "model": str(repository.name),
        "revisions": heads,
        "bytes": sum(path.stat().st_size for path in (repository.root / "blobs").glob("*") if path.is_file()),
        "published_by_starloom": repository.own.is_dir(),
        "damaged": damaged,
    }


def _show(argv: Sequence[str]) -> int:
    given = parse(ShowFlags, argv, "starloom hub show")
    name, _, revision = given.model.partition("@")
    repository = Repository(revisions.hub_folder(given.hub), Name.parse(name))
    heads = repository.revisions()
    if revision:
        log = repository.log(revisions.locate(given.model, None, repository.hub).name)
        if given.json:
            told = [{**commit.to_json(), "title": commit.title} for commit in log]
            print(json.dumps({"model": name, "revision": revision, "commits": told}, indent=2))
            return 0
        for commit in log:
            print(f"{commit.id}  {commit.title}  {commit.directory}")
        print(f"\n{repository.snapshot(log[0].id)}")
        for file, about in sorted(log[0].files.items()):
            print(f"  {file:<28} {plain.size(about.bytes):>9}  {about.blob}")
        return 0
    logs = {one: repository.log(head) for one, head in heads.items()}
    if given.json:
        said = {one: {**_brief(log[0]), "commits": [commit.id for commit in log]} for one, log in logs.items()}
        print(json.dumps({"model": name, "revisions": said}, indent=2))
        return 0
    width = max(map(len, logs), default=0)
    for one, log in logs.items():
        print(f"{one:<{width}}  {log[0].id}  {plain.several(len(log), 'commit')}  {log[0].title}  {log[0].directory}")
    return 0


def _brief(commit: Commit) -> dict[str, Any]:
    wanted = ("made_by", "fingerprint", "directory", "step")
    return {"commit": commit.id, **{key: getattr(commit, key) for key in wanted}}


def _verify(argv: Sequence[str]) -> int:
    from starloom.hub.verify import verify

    given = parse(VerifyFlags, argv, "starloom hub verify")
    folder = revisions.hub_folder(given.hub)
    known = revisions.names(folder)
    if given.model is not None and str(Name.parse(given.model)) not in known:
        raise HubError(
            f"there is no model '{given.model}' in the hub folder {folder}; {suggestion(given.model, known)}"
        )
    names = known if given.model is None else [given.model]
    problems = {name: verify(Repository(folder, Name.parse(name))) for name in names}
    bad = sum(map(bool, problems.values()))
    if given.json:
        print(json.dumps({"sound": not bad, "models": problems}, indent=2))
        return 1 if bad else 0
    for found in problems.values():
        for problem in found:
            print(problem)
    print(
        f"{len(problems) - bad} of {plain.several(len(problems), 'model')} in {folder} {'is' if len(problems) == 1 else 'are'} sound"
    )
    return 1 if bad else 0


def _push(argv: Sequence[str]) -> int:
    from starloom.hub.push import push

    given = parse(PushFlags, argv, "starloom hub push")
    repository = Repository(revisions.hub_folder(given.hub), Name.parse(given.model))
    token = _token(given.endpoint, given.token_env)
    done = push(
        repository,
        given.to,
        endpoint=given.endpoint,
        token=token,
        private=not given.public,
        only=given.revision,
        progress=progress.Progress() if given.json else progress.Lines(),
        bars=sys.stderr.isatty() and not given.json,
    )
    if given.json:
        print(json.dumps({**asdict(done), "path": str(done.path)}, indent=2))
        return 0
    print(f"{given.to} at {done.endpoint}: {plain.several(done.made, 'new commit')}; which is which is in {done.path}")
    return 0


def _token(endpoint: str | None, variable: str | None) -> str | bool | None:
    """The token to send; never a saved one to an address that it was not made for, nor any in the clear over a network."""
    if endpoint is not None:
        url = urlsplit(endpoint)
        if url.scheme not in ("http", "https") or not url.hostname or url.username or url.query or url.fragment:
            raise ConfigError(f"--endpoint is '{endpoint[:200]}'; it is an address such as https://hub.example")
        if variable is not None and url.scheme == "http" and url.hostname not in _LOCAL:
            raise ConfigError(f"--endpoint {endpoint} would carry the token in the clear; use https")
    if variable is None:
        return None if endpoint is None else False
    token = os.environ.get(variable, "")
    if not token:
        raise ConfigError(f"--token-env names {variable}, which is not set; put the hub's token there")
    return token
