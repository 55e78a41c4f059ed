"""Published models: revisions and commits in the Hugging Face cache's layout, their cards, and pushing them to a hub."""

from __future__ import annotations

from starloom.hub.card import Card
from starloom.hub.commit import Commit, File
from starloom.hub.layout import Repository
from starloom.hub.publish import publish

__all__ = ["Card", "Commit", "File", "Repository", "publish"]
