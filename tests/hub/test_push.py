"""Pushing to a hub over HTTP: every commit once, in order, however often it is killed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from hub_server import Hub, serving
from published_models import NAME, flip, published, trained

from starloom.errors import BusyError, DamagedError, HubError
from starloom.hub import Repository
from starloom.hub.push import Pushed, push
from starloom.models.revisions import Name
from starloom.store import read_sealed_json

TO = "them/copy"
pytestmark = pytest.mark.filterwarnings(
    "ignore:Use 'content=<...>':DeprecationWarning"
)  # huggingface_hub to its own library


@pytest.fixture(autouse=True)
def over_plain_http(monkeypatch: pytest.MonkeyPatch) -> None:
    """Uploads by LFS: the other protocol needs a server of its own; and a lost connection is no reason to wait seconds."""
    from huggingface_hub import constants
    from huggingface_hub.utils import _http

    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(_http.time, "sleep", lambda _: None)


@pytest.fixture
def hub() -> Iterator[Hub]:
    with serving(Hub()) as hub:
        yield hub


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stores")
    trained(folder, 1, (10, 20), "no-fim"), trained(folder, 2, (10,), "fim")
    return folder


@pytest.fixture
def model(stores: Path, tmp_path: Path) -> Repository:
    """`final`, also `main`, of three commits, and `fim` of two."""
    published(tmp_path / "hub", trained(stores, 1, (10, 20), "no-fim"), "final", also=("main",))
    published(tmp_path / "hub", trained(stores, 2, (10,), "fim"), "fim")
    return Repository(tmp_path / "hub", Name.parse(NAME))


def pushed(model: Repository, hub: Hub, **options: object) -> Pushed:
    return push(model, TO, endpoint=hub.url, token=hub.token or False, **options)  # type: ignore[arg-type]


def assert_same(model: Repository, hub: Hub) -> None:
    """Every branch there holds, commit by commit, what its revision holds here, on top of the hub's first commit."""
    assert set(hub.branches[TO]) == set(model.revisions())
    for revision, head in model.revisions().items():
        *theirs, first = hub.history(TO, revision)
        ours = model.log(head)
        assert first.title == "initial commit" and len(theirs) == len(ours)
        for one, other in zip(ours, theirs, strict=True):
            held = {name: (model.snapshot(one.id) / name).read_bytes() for name in one.files}
            assert other.files == {**held, ".gitattributes": first.files[".gitattributes"]}
            assert other.title == one.title and f"Starloom-Commit: {one.id}" in other.message


def test_a_hub_then_holds_every_revision_commit_by_commit(model: Repository, hub: Hub) -> None:
    done = pushed(model, hub)
    assert_same(model, hub)
    assert hub.private == {TO: True}
    assert done.made == 5  # `final` starts from the commits of `main`
    assert hub.branches[TO]["main"] == hub.branches[TO]["final"]
    assert hub.uploads == 5  # each weight once
    kept = read_sealed_json(done.path)
    assert kept["branches"] == done.branches and kept["endpoint"] == hub.url
    for revision, head in model.revisions().items():
        theirs = [one.id for one in hub.history(TO, revision)[:-1]]
        assert [kept["branches"][revision][one.id] for one in model.log(head)] == theirs


def test_pushing_again_makes_nothing_new(model: Repository, hub: Hub) -> None:
    pushed(model, hub)
    before, requests = dict(hub.commits), len(hub.requests)
    assert pushed(model, hub).made == 0
    assert hub.commits == before
    assert not [one for one in hub.requests[requests:] if "/commit/" in one or "/lfs" in one]


@pytest.mark.parametrize("stride", [7, pytest.param(1, marks=pytest.mark.slow)], ids=["some", "every one"])
def test_a_push_that_dies_at_any_request_goes_on_without_a_second_commit(
    model: Repository, hub: Hub, monkeypatch: pytest.MonkeyPatch, stride: int
) -> None:
    """The connection breaks before a request is carried out, or after it, so that only the answer is lost."""
    from huggingface_hub.utils import _http

    monkeypatch.setitem(_http.http_backoff.__kwdefaults__, "max_retries", 0)
    straight = pushed(model, hub).made
    requests = len(hub.requests)
    for place in range(1, 2 * requests, stride):
        with serving(Hub(dies_at=1 + place // 2, dies_after=bool(place % 2))) as other:
            with pytest.raises(HubError, match="what was pushed stays"):
                pushed(model, other)
            pushed(model, other)
            assert_same(model, other)
            assert len(other.commits) == 1 + straight


def test_new_commits_go_on_top_of_those_there(model: Repository, hub: Hub, tmp_path: Path) -> None:
    pushed(model, hub)
    published(tmp_path / "hub", trained(tmp_path / "store", 3), "final", also=("main",))
    assert pushed(model, hub).made == 2  # one on `main`, and again on `final`, which exists and cannot be moved
    assert_same(model, hub)


def test_only_some_revisions_can_be_pushed(model: Repository, hub: Hub) -> None:
    pushed(model, hub, only=["fim"])
    assert set(hub.branches[TO]) == {"main", "fim"} and len(hub.history(TO, "main")) == 1
    pushed(model, hub)
    assert_same(model, hub)
    with pytest.raises(HubError, match=r"no revision 'fin'; did you mean 'fi"):
        pushed(model, hub, only=["fin"])


def test_without_the_map_a_push_asks_the_hub_what_it_has(model: Repository, hub: Hub) -> None:
    done = pushed(model, hub)
    kept = done.path.read_bytes()
    done.path.unlink()
    assert pushed(model, hub).made == 0
    assert done.path.read_bytes() == kept


def test_a_branch_that_holds_something_else_is_refused_and_left_alone(model: Repository, hub: Hub) -> None:
    pushed(model, hub)
    foreign = hub.commit(TO, "main", "by hand", "", {"README.md": b"mine"})
    with pytest.raises(HubError, match=rf"branch 'main' of {TO} stands at {foreign}"):
        pushed(model, hub)
    assert hub.branches[TO]["main"] == foreign


def test_a_commit_by_somebody_else_during_a_push_ends_it_and_stays(model: Repository, hub: Hub) -> None:
    hub.intruder = "main"
    with pytest.raises(HubError, match="The branch has moved"):
        pushed(model, hub)
    assert [one.title for one in hub.history(TO, "main")] == ["by somebody else", "initial commit"]


def test_two_that_push_at_once_do_not_mix_and_publishing_waits_for_neither(
    model: Repository, hub: Hub, stores: Path, tmp_path: Path
) -> None:
    with model.alone("pushing"):
        with pytest.raises(BusyError, match="another process is pushing"):
            pushed(model, hub)
        published(tmp_path / "hub", trained(stores, 2, (10,), "fim"), "more")
    pushed(model, hub)
    assert_same(model, hub)


def test_damaged_content_is_not_pushed(model: Repository, hub: Hub) -> None:
    head = model.read(model.revisions()["main"])
    blob = model.blob(head.files["model.safetensors"])
    data = blob.read_bytes()
    blob.unlink()
    blob.write_bytes(data)
    flip(blob)
    with pytest.raises(DamagedError, match=r"model\.safetensors of commit .* is not pushed"):
        pushed(model, hub)
    assert all(head.id not in one.message for one in hub.commits.values())


def test_a_wrong_token_and_a_hub_that_is_away_are_named(model: Repository, hub: Hub) -> None:
    hub.token = "right"
    pushed(model, hub)
    with pytest.raises(HubError, match="Invalid credentials"):
        push(model, TO, endpoint=hub.url, token="wrong")
    with pytest.raises(HubError, match=r"http://127\.0\.0\.1:1 failed"):
        push(model, TO, endpoint="http://127.0.0.1:1", token=False)


def test_no_path_or_clock_of_this_machine_is_pushed(model: Repository, hub: Hub, tmp_path: Path) -> None:
    pushed(model, hub)
    said = json.dumps([[one.title, one.message, *map(repr, one.files.values())] for one in hub.commits.values()])
    assert str(tmp_path) not in said and "/tmp/" not in said
