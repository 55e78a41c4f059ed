"""Figures and foreign text as a person reads them: the one place that says how they are written."""

from __future__ import annotations

import unicodedata

_HIDDEN = frozenset({"Cc", "Cf", "Co", "Cs", "Cn", "Zl", "Zp"})  # Unicode categories that draw nothing, or move others
_EDGE = 30  # characters of a path that stay readable at its end


def visible(text: str) -> str:
    """Text in which nothing hides: controls are written as ^[, what else draws nothing as ⟨U+202E⟩.

    Line feeds and tabs stay. A file may try to look like another one; a report or a terminal must not help it.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        _written(sign) if sign not in "\n\t" and unicodedata.category(sign) in _HIDDEN else sign for sign in text
    )


def _written(sign: str) -> str:
    number = ord(sign)
    return f"^{chr(number ^ 0x40)}" if number < 0x20 or number == 0x7F else f"⟨U+{number:04X}⟩"


def path_text(path: bytes) -> str:
    """A path of any bytes; what is not UTF-8 is written as \\xNN."""
    return visible(path.decode("utf-8", "backslashreplace"))


def shortened(text: str, longest: int) -> str:
    """Text of at most `longest` characters, its middle left out: the end of a path says most."""
    if len(text) <= longest:
        return text
    tail = min(_EDGE, longest // 2)
    return f"{text[: longest - tail - 1]}…{text[-tail:]}"


def count(number: float) -> str:
    """1234567 → 1,234,567; 0.5 → 0.5; whole numbers without a fraction."""
    return f"{number:,.0f}" if float(number).is_integer() else f"{number:,.4g}"


def amount(number: float) -> str:
    """A large number with three digits: 9,999, 12.3 k, 4.56 M."""
    value = float(number)
    if value < 10_000:
        return count(value)
    for unit in ("k", "M", "G"):
        value /= 1000
        if value < 999.5:
            return f"{value:.{0 if value >= 99.95 else 1 if value >= 9.995 else 2}f} {unit}"
    return f"{value / 1000:,.3g} T"


def several(number: float, noun: str) -> str:
    """1 file, 2 files."""
    return f"{count(number)} {noun}{'s' * (number != 1)}"


def size(size_bytes: float) -> str:
    """Bytes in decimal units, three digits: 1.23 MB."""
    value = float(size_bytes)
    for unit in ("bytes", "kB", "MB", "GB"):
        if value < 999.5:
            return f"{value:.0f} {unit}" if unit == "bytes" or value >= 99.95 else f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:.3g} TB"


def duration(seconds: float) -> str:
    """12 ms, 4.1 s, 3 min 20 s, 2 h 05 min."""
    if seconds < 0.9995:
        return f"{1000 * seconds:.0f} ms"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def share(part: float, whole: float) -> str:
    """A share in per cent; a dash where there is nothing to share."""
    if not whole:
        return "–"
    percent = 100 * part / whole
    return f"{percent:.2g} %" if 0 < percent < 0.95 else f"{percent:.1f} %"


def words(name: str) -> str:
    """A snake_case reason or count as words."""
    return name.replace("_", " ")
