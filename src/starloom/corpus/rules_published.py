"""The rules of SantaCoder's ablations, StarCoder and StarCoder2, each a pure function with a reason.

Every one is linear in the file. A rule that is about some languages keeps the files of all others.
"""

from __future__ import annotations

import re

from starloom.corpus.comments import comment_ratio
from starloom.corpus.html_text import visible_text
from starloom.corpus.origin import auto_generated_phrase
from starloom.corpus.origin import generated as origin_generated
from starloom.corpus.origin import vendored as origin_vendored
from starloom.corpus.rules import SourceFile
from starloom.corpus.rules_table import limits_of

_XML_HEAD = 100  # characters (bigcode-dataset `filtering.py`)
_ASSEMBLIES = ("Motorola 68K Assembly", "WebAssembly")
_LINES_EXEMPT = ("HTML", "JSON", "Markdown", "Roff", "Roff Manpage", "SMT", "TeX", "Text", "XML")
_TEXT_STEMS = ("readme", "notes", "todo", "description", "cmakelists")
_DATA_LANGUAGES = ("Text", "JSON", "YAML", "Web Ontology Language", "Graphviz (DOT)")
# Maximal runs only (the look-behind), so that nothing is tried twice; StarCoder2, arXiv 2402.19173
_ENCODED = (
    ("base64", re.compile(r"(?<![a-zA-Z0-9+/\n=])[a-zA-Z0-9+/\n=]{64,}+")),
    ("hexadecimal", re.compile(r"(?:(?:\\x|\b(?:0x)?)[0-9a-fA-F]{2}\b[,\s]*+){8,}+")),
    ("unicode_escapes", re.compile(r"(?:\\u[0-9a-fA-F]{4}){8,}+")),
)


def few_stars(file: SourceFile, *, more_than: int = 5) -> str | None:
    """SantaCoder's ablation: files of repositories with more than five stars; unknown counts as none
    (bigcode-dataset `filtering.py`: strictly more)."""
    return None if (file.stars or 0) > more_than else "few_stars"


def comments(file: SourceFile, *, least: float = 0.01, most: float = 0.8) -> str | None:
    """SantaCoder's ablation: neither uncommented nor commented out, both limits strict (`filtering.py`)."""
    ratio = comment_ratio(file.text, file.language) if file.language is not None else None
    if ratio is None or least < ratio < most:
        return None
    return "few_comments" if ratio <= least else "mostly_comments"


def xml_header(file: SourceFile) -> str | None:
    """XML under another name (`filtering.py`: the declaration in the first 100 characters)."""
    return "xml" if "<?xml version=" in file.text[:_XML_HEAD] else None


def little_visible_text(file: SourceFile, *, share: float = 0.2, least: int = 100) -> str | None:
    """HTML that shows little: more than a fifth, and more than 100 characters, must be text (`filtering.py`)."""
    if file.language != "HTML":
        return None
    seen = len(visible_text(file.text))
    return None if seen > least and seen > share * file.characters else "little_visible_text"


def size_window(
    file: SourceFile, *, languages: tuple[str, ...] = ("JSON", "YAML"), least: int = 100, most: int = 5000
) -> str | None:
    """Data files neither tiny nor large (`filtering.py`: 100 to 5,000 characters of JSON and YAML)."""
    if file.language not in languages:
        return None
    return "too_short" if file.characters < least else "too_long" if file.characters > most else None


def extension_table(file: SourceFile) -> str | None:
    """StarCoder's table of limits by extension, drawn up by looking at files (`visual_inspection.csv`)."""
    limits = limits_of(file.language, file.path)
    if limits is None:
        return "extension_not_selected"
    if limits.longest_line is not None:
        if file.longest_line > limits.longest_line:
            return "line_too_long"
        if file.lines and file.line_characters / file.lines > 100:  # only beside a longest line (`filtering.py`)
            return "lines_long_on_average"
    if limits.alphanumeric is not None and file.alphanumeric < limits.alphanumeric * file.characters:
        return "few_alphanumeric"
    if limits.alphabetic is not None and alphabetic(file.text) < limits.alphabetic * file.characters:
        return "few_alphabetic"
    return "xml" if limits.xml and xml_header(file) else None


def alphabetic(text: str) -> int:
    """Characters that are letters."""
    if text.isascii():
        return len(_NO_LETTERS.sub("", text))
    return sum(map(str.isalpha, text))


_NO_LETTERS = re.compile(r"[^A-Za-z]++")


def few_alphabetic(file: SourceFile, *, least: float = 0.25) -> str | None:
    """Less than a quarter is letters; in two assembly languages letters and digits (StarCoder2, arXiv 2402.19173)."""
    counted = file.alphanumeric if file.language in _ASSEMBLIES else alphabetic(file.text)
    return "few_alphabetic" if counted < least * file.characters else None


def many_lines(file: SourceFile, *, most: int = 100_000) -> str | None:
    """More lines than anybody wrote (StarCoder2, arXiv 2402.19173)."""
    return "many_lines" if file.lines > most else None


def long_lines_by_language(
    file: SourceFile, *, longest: int = 1000, mean: float = 100, longest_anywhere: int = 100_000
) -> str | None:
    """StarCoder2's length rule: prose, markup and JSON may have long lines, none of 100,000 (arXiv 2402.19173)."""
    if file.longest_line > longest_anywhere:
        return "line_too_long"
    if file.language in _LINES_EXEMPT:
        return None
    if file.longest_line > longest:
        return "line_too_long"
    return "lines_long_on_average" if file.lines and file.line_characters / file.lines > mean else None


def generated(file: SourceFile) -> str | None:
    """What a generator's name or mark shows, or one of StarCoder2's phrases in the first five lines."""
    path = file.path.decode("utf-8", "backslashreplace")
    if origin_generated(path, file.text, file.language) is not None or auto_generated_phrase(file.text):
        return "generated"
    return None


def vendored(file: SourceFile) -> str | None:
    """Code that a project carries along; the original is elsewhere (linguist `vendor.yml`)."""
    carried = file.vendored
    if carried is None:
        (carried,) = origin_vendored([file.path.decode("utf-8", "backslashreplace")])
    return "vendored" if carried else None


def encoded_data(file: SourceFile, *, longest: int = 1024, share: float = 0.5) -> str | None:
    """Base64, byte lists and escapes: one run of more than 1,024 characters, or more than half of the file
    (StarCoder2, arXiv 2402.19173)."""
    for _, pattern in _ENCODED:
        runs = [match.end() - match.start() for match in pattern.finditer(file.text)]
        if runs and (max(runs) > longest or sum(runs) > share * file.characters):
            return "encoded_data"
    return None


def long_data(file: SourceFile, *, most: int = 512) -> str | None:
    """Data formats of more than 512 lines (StarCoder2, arXiv 2402.19173: Text, JSON, YAML, OWL, Graphviz)."""
    return "many_lines_of_data" if file.language in _DATA_LANGUAGES and file.lines > most else None


def text_not_about_code(file: SourceFile) -> str | None:
    """Plain text stays only under the names of notes about code (StarCoder2, arXiv 2402.19173)."""
    if file.language != "Text":
        return None
    name = file.path.rpartition(b"/")[2].decode("utf-8", "replace").lower()
    kept = "requirement" in name or name.partition(".")[0] in _TEXT_STEMS
    return None if kept else "text_not_about_code"
