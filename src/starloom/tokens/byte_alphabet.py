"""The byte alphabet of byte-level BPE: each of the 256 bytes written as one printable character (GPT-2)."""

from __future__ import annotations


def _alphabet() -> list[str]:
    printable = {*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)}
    others = iter(range(256, 512))  # the bytes that do not print move to the characters from 256 on, in order
    return [chr(byte) if byte in printable else chr(next(others)) for byte in range(256)]


ALPHABET = _alphabet()  # byte → character
_BYTES = {character: byte for byte, character in enumerate(ALPHABET)}


def to_bytes(token: str) -> bytes | None:
    """The bytes that a token of the alphabet stands for; None when a character is not of the alphabet."""
    try:
        return bytes([_BYTES[character] for character in token])
    except KeyError:
        return None
