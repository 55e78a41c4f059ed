"""Plain Python values as bytes and back, across the line between a trusted process and a program nobody trusts.

What is covered: `decode` is total. Whatever bytes it is given, it returns plain values or raises BadAnswer; it runs no
code of the sender, calls no method of the sender's, and its work is bounded by the bytes given, hash collisions included.
A value of a subclass arrives as what it is plainly, inside `Tagged`, so that no overridden method arrives with it.
What is not covered: whether the values are right. And `encode` runs where the program runs and may be deceived by it.

These files also run inside sandboxes: standard library only.

    None N · bool T F · int i · float f · complex c · str s · bytes b · bytearray y · list l · tuple t · set S · frozenset Z ·
    dict d · range r · slice : · Ellipsis . · Decimal D · Fraction Q · datetime and its kin W · OrderedDict O · defaultdict E ·
    Counter C · deque q · numpy n · Tagged k · Reference h · many numbers v · many strings w (in a list or tuple)
"""

from starloom.sandbox.answers_kinds import (
    DEEPEST,
    LARGEST,
    MOST_CONTAINERS,
    BadAnswer,
    NotPlain,
    Numpy,
    Reference,
    Tagged,
)
from starloom.sandbox.answers_read import decode, decode_plain
from starloom.sandbox.answers_write import encode, encode_size, plainly

__all__ = [
    "DEEPEST",
    "LARGEST",
    "MOST_CONTAINERS",
    "BadAnswer",
    "NotPlain",
    "Numpy",
    "Reference",
    "Tagged",
    "decode",
    "decode_plain",
    "encode",
    "encode_size",
    "plainly",
]
