"""One curated corpus for all tests that only look at it."""

from __future__ import annotations

import curated
import pytest

from starloom.report.documents import Corpus, corpora
from starloom.report.facts import Steps
from starloom.store import Built


@pytest.fixture(scope="session")
def steps(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Built]:
    """Step name → directory of the curated corpus."""
    return curated.built(tmp_path_factory.mktemp("curated"))


@pytest.fixture(scope="session")
def curated_corpus(steps: dict[str, Built]) -> Corpus:
    (found,) = corpora(Steps(list(steps.values())))
    return found
