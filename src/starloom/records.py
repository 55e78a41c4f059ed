"""Nouns that every station shares: a document's identity, a file's blob id, and chance as a function."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Protocol

ID_BYTES = 16  # blake2b-128: 2**64 documents before a collision is likely


class _Hash(Protocol):
    def update(self, data: bytes, /) -> None: ...


def _update(digest: _Hash, *fields: bytes) -> None:
    """Feed each field behind its length, so that ("ab", "c") and ("a", "bc") differ."""
    for field in fields:
        digest.update(len(field).to_bytes(8, "little"))
        digest.update(field)


def document_id(kind: str, repository: str, path: bytes, blob: str) -> bytes:
    """Identity of a document: 16 bytes of blake2b over its kind, canonical repository, path and blob.

    The repository is `github.com/owner/name`, `pypi:NAME`, `python:stdlib`, `folder:NAME`, …: never a path of this
    machine, so a source folder that was moved keeps its ids. Revisions are no part of it.
    """
    digest = hashlib.blake2b(digest_size=ID_BYTES)
    _update(digest, kind.encode(), repository.encode("utf-8", "surrogateescape"), path, blob.encode())
    return digest.digest()


class BlobHasher:
    """Git's object id of a file whose size in bytes is known before it is read: hex SHA-1 of `blob SIZE NUL content`."""

    def __init__(self, size: int) -> None:
        self._sha1 = hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)

    def update(self, data: bytes) -> None:
        self._sha1.update(data)

    def hexdigest(self) -> str:
        return self._sha1.hexdigest()


def blob_id(data: bytes) -> str:
    """Git's object id of a file with this content: 40 hexadecimal digits."""
    hasher = BlobHasher(len(data))
    hasher.update(data)
    return hasher.hexdigest()


def uniform(seed: int, *item: bytes | int | str) -> float:
    """A number in [0, 1) that depends on nothing but the seed and the item: chance as a function, never as a stream."""
    return chances(seed)(*item)


def chances(seed: int, *item: bytes | int | str) -> Callable[..., float]:
    """`uniform` of items that begin alike: `chances(seed, a, b)(c)` is `uniform(seed, a, b, c)`, in less time for many."""
    begun = hashlib.blake2b(digest_size=8, key=seed.to_bytes(8, "little", signed=True))
    _update(begun, *map(_bytes, item))

    def drawn(*place: bytes | int | str) -> float:
        digest = begun.copy()
        _update(digest, *map(_bytes, place))
        return (int.from_bytes(digest.digest(), "little") >> 11) / 2**53

    return drawn


def _bytes(part: bytes | int | str) -> bytes:
    return part if isinstance(part, bytes) else str(part).encode("utf-8", "surrogateescape")
