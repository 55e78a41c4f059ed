from __future__ import annotations

from itertools import pairwise

from hypothesis import example, given
from hypothesis import strategies as st

from starloom.generate.stop_strings import StopStrings

letters = st.text("ab\n", max_size=30)
stops = st.lists(st.text("ab\n", min_size=1, max_size=4), max_size=3)


def cut(text: str, strings: list[str]) -> tuple[str, str | None]:
    """The obvious oracle: try every end, earliest first; of several strings that end there, the longest."""
    for end in range(len(text) + 1):
        found = [string for string in strings if text[:end].endswith(string)]
        if found:
            longest = max(found, key=len)
            return text[: end - len(longest)], longest
    return text, None


@given(letters, stops, st.lists(st.integers(0, 30)))
@example("aab", ["ab"], [1, 2])
@example("abaabab", ["abab"], [3])
def test_any_chunking_gives_the_same_text_and_never_leaks(text: str, strings: list[str], cuts: list[int]) -> None:
    bounds = [0, *sorted(min(at, len(text)) for at in cuts), len(text)]
    stopper, shown = StopStrings(strings), ""
    for start, end in pairwise(bounds):
        shown += stopper.feed(text[start:end])
        before, found = cut(text[:end], strings)
        possible = [0] if found else [n for s in strings for n in range(len(s)) if before.endswith(s[:n])] or [0]
        assert shown == before[: len(before) - max(possible)]  # all that is safe, and nothing that is not
    before, found = cut(text, strings)
    assert (shown + stopper.finish(), stopper.found) == (before, found)


def test_a_longer_stop_that_ends_at_the_same_place_wins() -> None:
    stopper = StopStrings(["b", "ab"])
    assert (stopper.feed("xab"), stopper.found) == ("x", "ab")


def test_nothing_comes_out_after_the_stop() -> None:
    stopper = StopStrings(["#"])
    assert [stopper.feed("a#b"), stopper.feed("c"), stopper.finish()] == ["a", "", ""]
