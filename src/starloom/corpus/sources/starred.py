"""A source whose line in a list says how many stars it has, for sources that cannot say it themselves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from starloom.corpus.sources.listing import Entry, Listing, Raw, Source


@dataclass(frozen=True, slots=True)
class Starred:
    """What a source holds, with the list's number of stars wherever the source has none of its own."""

    source: Source
    stars: int

    def __str__(self) -> str:
        return str(self.source)

    def listing(self) -> Listing:
        listing = self.source.listing()
        return replace(listing, digest=f"{listing.digest} stars={self.stars}")

    def read(self, entries: Sequence[Entry], max_bytes: int) -> Iterator[Raw]:
        for raw in self.source.read(entries, max_bytes):
            stars = self.stars if raw.said.stars is None else raw.said.stars
            yield replace(raw, said=replace(raw.said, stars=stars))
