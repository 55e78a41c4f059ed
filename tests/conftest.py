"""Options of the suite."""

from __future__ import annotations

import pytest
from hypothesis import settings

settings.register_profile("untimed", deadline=None)  # no example of a property is timed
settings.load_profile("untimed")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-versions", action="store_true", help="write tests/versions.json anew")
    parser.addoption(
        "--data", default="", help="a folder of published benchmarks, for tests of those that are not carried"
    )


@pytest.fixture(scope="session")
def data(request: pytest.FixtureRequest) -> str:
    """The folder of published benchmarks."""
    folder = str(request.config.getoption("--data"))
    if not folder:
        pytest.skip("needs benchmarks that the package does not carry: pytest --data FOLDER")
    return folder
