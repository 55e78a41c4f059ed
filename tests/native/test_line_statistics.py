"""The kernels against Python's own str.splitlines, len and str.isalnum: every instruction set of this machine, and the twin."""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from starloom import native
from starloom.errors import ConfigError
from starloom.native import build, library, twin

ENDS = twin.ENDS
ODD = "\r\n\r\n" + ENDS + "aZ09_ é²ⅷ٣中😀𝟗\x00\x7f\x80\ufeff\uffff\U0010ffff"  # letters, digits, numbers, edges

texts = st.lists(st.text(max_size=200) | st.text(st.sampled_from(ODD), max_size=300), max_size=8)
octets = st.lists(
    st.binary(max_size=200)
    | st.lists(st.sampled_from([bytes([b]) for b in (*range(0x7E, 0x100), 0x0A, 0x0D)]), max_size=150).map(b"".join)
    | st.tuples(st.text(st.sampled_from(ODD), max_size=80), st.binary(max_size=4)).map(lambda t: t[0].encode() + t[1])
    | st.tuples(st.text(st.sampled_from(ODD), max_size=80), st.integers(0, 99)).map(lambda t: t[0].encode()[t[1] :]),
    max_size=8,
)

same_choice_for_all_inputs = settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(params=native.choices())
def computed_by(request: pytest.FixtureRequest) -> Iterator[str]:
    native.use(request.param)
    yield request.param
    native.use("auto")


def packed(documents: Sequence[bytes]) -> tuple[bytes, np.ndarray]:
    return b"".join(documents), np.cumsum([0, *map(len, documents)], dtype=np.int64)


def rule(text: str) -> tuple[int, ...]:
    """The rule in pure Python."""
    lines = text.splitlines()
    longest = max(map(len, lines), default=0)
    return len(lines), longest, sum(map(len, lines)), len(text), sum(map(str.isalnum, text))


def rows(statistics: native.LineStatistics) -> list[tuple[int, ...]]:
    return [tuple(row) for row in np.stack(astuple(statistics)).T.tolist()]


@same_choice_for_all_inputs
@given(documents=texts)
def test_statistics_of_any_text_are_pythons_own(computed_by: str, documents: list[str]) -> None:
    found = native.line_statistics(*packed([text.encode() for text in documents]))
    assert rows(found) == [rule(text) for text in documents]


def test_the_longest_line_is_found_wherever_it_lies_in_a_block(computed_by: str) -> None:
    near = range(56, 67)  # a block has 64 bytes
    lines = itertools.product(near, range(65), near)
    documents = [b"x" * first + b"\n" * (1 + empty) + b"y" * last + b"\n" for first, empty, last in lines]
    found = native.line_statistics(*packed(documents))
    assert rows(found) == [rule(text.decode()) for text in documents]


@same_choice_for_all_inputs
@given(documents=octets)
@example([b"\xf0\x90\x80", b"\xed\xa0\x80", b"\xe0\x80\x80", b"\xc0\xaf", b"\xf4\x90\x80\x80", b"x" * 63 + b"\xe2\x80"])
def test_bytes_that_are_not_utf8_count_as_python_replaces_them(computed_by: str, documents: list[bytes]) -> None:
    found = native.line_statistics(*packed(documents))
    assert rows(found) == [rule(text.decode("utf-8", "replace")) for text in documents]


def test_every_code_point_counts_as_python_counts_it(computed_by: str) -> None:
    points = [chr(c) for c in range(sys.maxunicode + 1) if not 0xD800 <= c <= 0xDFFF]
    documents = ["".join(points[first : first + 64]) for first in range(0, len(points), 64)]
    found = native.line_statistics(*packed([text.encode() for text in documents]))
    assert rows(found) == [rule(text) for text in documents]


def test_a_character_counts_the_same_wherever_it_lies(computed_by: str) -> None:
    documents = ["x" * before + odd + "y" * 70 for before in range(130) for odd in [*ODD, "\r\n", "\n\r", "\r\r\n"]]
    found = native.line_statistics(*packed([text.encode() for text in documents]))
    assert rows(found) == [rule(text) for text in documents]


@given(documents=octets, offsets=st.lists(st.integers(-3, 40) | st.integers(-(2**63), 2**63 - 1), max_size=5))
def test_offsets_that_cannot_be_followed_are_refused(documents: list[bytes], offsets: list[int]) -> None:
    data = b"".join(documents)
    if offsets and offsets[0] >= 0 and sorted(offsets) == offsets and offsets[-1] <= len(data):
        found = native.line_statistics(data, np.array(offsets, np.int64))
        parts = [data[start:end].decode("utf-8", "replace") for start, end in itertools.pairwise(offsets)]
        assert rows(found) == [rule(text) for text in parts]
    else:
        with pytest.raises(ValueError, match="offsets"):
            native.line_statistics(data, np.array(offsets, np.int64))


@pytest.mark.parametrize("offsets", [np.array([0.0, 1.0]), np.array([[0, 1]]), np.array(0), np.array([0, 2**63], "u8")])
def test_offsets_that_are_no_row_of_integers_in_range_are_refused(offsets: np.ndarray) -> None:
    with pytest.raises(ValueError, match="offsets"):
        native.line_statistics(b"ab", offsets)


def test_no_threads_are_refused() -> None:
    with pytest.raises(ValueError, match="threads is 0"):
        native.line_statistics(b"", np.array([0]), threads=0)


@pytest.mark.parametrize("data", [b"ab\nc", bytearray(b"ab\nc"), memoryview(b"ab\nc"), pa.py_buffer(b"ab\nc")])
def test_any_buffer_and_integer_type_will_do(data: object) -> None:
    for kind in ("<i4", "<i8", ">i8", "u2"):
        assert rows(native.line_statistics(data, np.array([1, 4], kind))) == [rule("b\nc")]


@given(texts, st.integers(0, 3), st.integers(0, 8), st.sampled_from(["string", "large_string", "binary"]))
def test_a_slice_of_an_arrow_column_with_nulls_is_its_values(
    documents: list[str], nulls: int, first: int, kind: str
) -> None:
    values = [None if i % 4 < nulls else text for i, text in enumerate(documents)]
    column = pa.array(values, pa.string()).cast(kind)[first:]
    expected = [rule(text or "") for text in values[first:]]
    assert rows(native.arrow_line_statistics(column)) == expected
    assert rows(native.arrow_line_statistics(pa.chunked_array([column, column]))) == expected * 2


def test_what_lies_below_a_null_does_not_count() -> None:
    whole = pa.array(["one\ntwo", "three"])
    column = pa.Array.from_buffers(pa.string(), 2, [pa.py_buffer(b"\x02"), *whole.buffers()[1:]])
    assert column.to_pylist() == [None, "three"]
    assert rows(native.arrow_line_statistics(column)) == [rule(""), rule("three")]


def test_a_column_that_is_not_text_is_refused() -> None:
    with pytest.raises(TypeError, match="int64"):
        native.arrow_line_statistics(pa.array([1]))


def test_no_documents_give_empty_columns() -> None:
    assert rows(native.line_statistics(b"", np.array([0]))) == []
    assert rows(native.arrow_line_statistics(pa.chunked_array([], pa.string()))) == []
    assert rows(native.arrow_line_statistics(pa.array([], pa.large_string()))) == []


def large_column() -> tuple[bytes, np.ndarray]:
    """Several shares of work: 4 MB, of which one document is a quarter and many are empty."""
    lengths = [0, 0, 17, 90_000, 300_000, 1_000_000, 0, 5] + [9_000, 0] * 300
    return packed([("déf f(x):\n" * (n // 11 + 1)).encode()[:n] for n in lengths])


def test_threads_do_not_change_the_result(computed_by: str) -> None:
    data, offsets = large_column()
    alone = rows(native.line_statistics(data, offsets, threads=1))
    for threads in (2, 4, 1000):
        assert rows(native.line_statistics(data, offsets, threads=threads)) == alone


def test_callers_at_once_do_not_disturb_each_other() -> None:
    data, offsets = large_column()
    alone = rows(native.line_statistics(data, offsets))
    with ThreadPoolExecutor(4) as callers:
        for found in callers.map(lambda _: native.line_statistics(data, offsets, threads=3), range(40)):
            assert rows(found) == alone


FORKS = """
import os, sys
import numpy as np
from starloom import native
data, offsets = b"ab\\n" * 10**6, np.arange(0, 3 * 10**6 + 1, 3000)
def right():
    return int(native.line_statistics(data, offsets, threads=4).lines.sum()) == 10**6
children = []
for _ in range(5):
    assert right()
    child = os.fork()
    if not child:
        os._exit(not right())
    children.append(child)
sys.exit(any(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children))
"""


def test_a_forked_process_computes_too() -> None:
    subprocess.run([sys.executable, "-W", "ignore", "-c", FORKS], check=True, timeout=60)


def test_importing_native_loads_no_pyarrow() -> None:
    code = "import sys, starloom.native; sys.exit('pyarrow' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_what_is_not_to_be_had_here_is_refused_with_what_is() -> None:
    with pytest.raises(ConfigError, match="twin"):
        native.use("twinn")
    assert native.status() == native.status()


@pytest.fixture
def library_looked_for_again() -> Iterator[None]:
    library.load.cache_clear()
    yield
    library.load.cache_clear()


@pytest.mark.usefixtures("library_looked_for_again")
def test_the_twin_stands_in_where_there_is_no_library(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(build, "LIBRARY", tmp_path / "libstarloom.so")
    assert native.status().library is None
    assert "run: python -m starloom.native" in native.status().describe()
    assert rows(native.line_statistics(b"a\nb", np.array([0, 3]))) == [rule("a\nb")]


@pytest.mark.usefixtures("library_looked_for_again")
@pytest.mark.parametrize("content", [b"", b"\x7fELF", b"no library at all"])
def test_the_twin_stands_in_for_a_damaged_library(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: bytes
) -> None:
    monkeypatch.setattr(build, "LIBRARY", tmp_path / "libstarloom.so")
    build.LIBRARY.write_bytes(content)
    assert "cannot be loaded" in native.status().reason


needs_library = pytest.mark.skipif(native.status().library is None, reason=native.status().reason)


@needs_library
@pytest.mark.usefixtures("library_looked_for_again")
def test_a_library_of_other_sources_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "sources_digest", lambda: "0" * 32)
    assert "other sources" in native.status().reason


@needs_library
def test_the_instruction_sets_are_those_that_the_kernel_of_the_system_names() -> None:
    cpuinfo = Path("/proc/cpuinfo")
    flags = set(cpuinfo.read_text().split()) if cpuinfo.exists() else set()
    if not {"avx2", "asimd"} & flags:
        pytest.skip("/proc/cpuinfo names neither AVX2 nor NEON")
    named = {"avx2": "avx2", "avx512bw": "avx512", "asimd": "neon"}
    assert {mine for flag, mine in named.items() if flag in flags} == set(native.choices()) - {"twin", "plain"}
