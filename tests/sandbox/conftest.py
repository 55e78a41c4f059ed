"""One sandbox of each tier for all tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from starloom.errors import SandboxError
from starloom.sandbox import Sandbox

TIERS = ("namespaces", "landlock")


@pytest.fixture(scope="session", params=TIERS)
def sandbox(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    """A sandbox of two workers; skipped where the kernel does not offer its tier."""
    try:
        made = Sandbox(workers=2, tier=request.param)
    except SandboxError as error:
        pytest.skip(str(error))
    with made:
        yield made
