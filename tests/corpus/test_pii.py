"""Finding personal data: the figures on labelled samples, the published cuts, and no pattern that runs away."""

from __future__ import annotations

import random
import string
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpus.pii_samples import BASE62, Label, Score, email, ip4, ip6, samples, scored
from starloom.corpus import find_pii
from starloom.corpus.pii import Entity, apart
from starloom.corpus.pii_gibberish import is_gibberish, surprise


def figures(name: str, reason: str) -> Score:
    return scored(reason, [(one, [Label(*found) for found in find_pii(one.text)]) for one in samples(name)])


@pytest.mark.parametrize("name", ["tuning", "heldout", "second"])
@pytest.mark.parametrize(
    ("reason", "precision", "recall"), [("EMAIL", 0.97, 0.97), ("IP_ADDRESS", 0.97, 0.97), ("KEY", 0.8, 0.9)]
)
def test_labelled_samples_are_found_as_the_issue_asks(name: str, reason: str, precision: float, recall: float) -> None:
    score = figures(name, reason)
    assert score.precision >= precision
    assert score.recall >= recall
    assert score.labels >= 90


def found(text: str) -> list[tuple[str, str]]:
    data = text.encode()
    return [(one.kind, data[one.start : one.end].decode()) for one in find_pii(text)]


@pytest.mark.parametrize(
    "text",
    [
        "version 1.2.3.4", "oid = 1.3.6.1.4.1", "x = 33.01.33.33", "on 31.12.2021.", "ping 8.8.8.8", "host 10.0.0.1",
        "127.0.0.1 ::1 0.0.0.0 255.255.255.0", "fe80::1%eth0 fd00::1 2001:db8::1", "Chrome/91.0.44.124", "a::b::c std::x",
        "@property @types/node", "git@github.com:owner/name.git", "ssh://git@gitlab.com/x", "https://user:pass@host.com/x",
        "logo@2x.png", "A@B.T y=x@self.weight", "jo@example.com jo@localhost", "{user}@{host}.com %(x)s@mail.com",
        " * @since 91.4.2.0", "image: registry.io/app/orders:91.18.2.1", "## 91.18.2.17 Notes", "## [91.18.2.17] (2020-01-02)",
        "orders (91.18.2.17-1ubuntu2) focal", "dep ^91.18.2.17", "'2.5.29.15': 'keyUsage'", "24:0a:c4:01:02:03:04:05",
        "see table 91.18.2.17", "gem 'rails', '91.18.2.17'", "std::ffff:1", "::ffff:10.0.0.1",
        "// 9.7.12.7. Parallel Things", " *  C++98 [23.2.3.1].", "update V8 to 4.6.85.31 (#1)", "Git 1.7.12.1 Release Notes",
        "c-.83-2.12 3.51.98.32 2.03.5", "11.5.9.0.sb1", "tokenizer('Qwen/Qwen2-VL-7B-Instruct')", "'GoogleCloudV1Hl7v2Source'",
        "getty@tty1.service", "pkg@1.2.3", "this@MainActivity.run()",
    ],
)  # fmt: skip
def test_hard_negatives_are_left_alone(text: str) -> None:
    assert found(text) == []


@given(
    st.integers(0, 2**32).map(random.Random),
    st.sampled_from(["", " ", '"', "'", "<", "(", "联系", "mail:", "\n", "mailto:"]),
)
def test_an_address_is_found_whole_behind_any_delimiter(chance: random.Random, before: str) -> None:
    address = email(chance)
    after = {'"': '"', "'": "'", "<": ">", "(": ")", "联系": "谢谢"}.get(before, "\n")
    assert found(before + address + after) == [("EMAIL", address)]


@given(st.integers(0, 2**32).map(random.Random), st.sampled_from([" ", '"', "'", "[", "//", "=", ",", "@"]))
def test_a_public_machine_is_found_whole(chance: random.Random, before: str) -> None:
    for make in (ip4, ip6):
        address = make(chance)
        if len(address) > 7:
            assert found(f"host{before}{address}]") == [("IP_ADDRESS", address)]


def test_keys_without_a_digit_and_addresses_within_addresses_are_found_whole() -> None:
    key = "rk_live_" + "xSTpjYuuAZbGvMKlWghSRnid"
    assert found(f"k = f({key})") == [("KEY", key)]
    for name in ("AWS_KEY=", "'", " "):
        assert found(f"{name}AKIA{'VEBVGMDUOOWCQLRE'}'") == [("KEY", "AKIA" + "VEBVGMDUOOWCQLRE")]
    assert found("from ::ffff:93.184.216.34, [::FFFF:93.184.216.34]:80") == [
        ("IP_ADDRESS", "::ffff:93.184.216.34"), ("IP_ADDRESS", "::FFFF:93.184.216.34")
    ]  # fmt: skip
    account = "AC" + "0123456789abcdef" * 2
    token = "e2d1c4" + "9b8a7f6e5d4c3b2a1f0e9d8c7b"
    assert found(f'Client("{account}", "{token}")') == [("KEY", token)]


def test_files_in_base64_are_no_keys() -> None:
    for head in ("iVBORw0KGgoAAAANSUhEUg", "UklGRiQAAABXQVZFZm10", "R0lGODlhAQAB", "/9j/4AAQSkZJRg"):
        assert found(f'token = "{head}aB3dE6gH9jK2mN5pQ8sT1vW4yZ7bC0fL"') == []


def test_a_value_that_was_found_once_is_found_where_its_place_is_doubtful() -> None:
    key = "aB3dE6gH9jK2mN5pQ8sT1vW4yZ7bC0fL"
    text = (
        f'api_key = "{key}"\nscp jo@acme.dev:{key} .\nmail("jo@acme.dev")\nhost 93.184.216.34\nversion 93.184.216.34\n'
    )
    assert sorted(value for _, value in found(text)) == [*["93.184.216.34"] * 2, *[key] * 2, *["jo@acme.dev"] * 2]


def test_a_table_of_random_values_is_data_and_a_few_are_secrets() -> None:
    values = ["".join(BASE62[(7 * n * n + 13 * k * (n + 3)) % 62] for k in range(1, 33)) for n in range(1, 20)]
    values = [value for value in values if is_gibberish(value.encode()) and len(set(value)) > 20]
    assert len(values) >= 6
    assert len(found("\n".join(f'f("{value}")' for value in values[:3]))) == 3
    assert found("\n".join(f'"{value}",' for value in values)) == []


@given(st.text(max_size=300), st.text("@.:0123456789abcdefAKIghp_=\"'/- \n", max_size=400))
def test_entities_are_spans_of_the_text_in_order_and_apart(one: str, two: str) -> None:
    data = (one + two).encode()
    last = 0
    for entity in find_pii(one + two):
        assert last <= entity.start < entity.end <= len(data)
        data[entity.start : entity.end].decode()
        last = entity.end


SPANS = st.lists(st.builds(Entity, st.integers(0, 30), st.integers(31, 60), st.sampled_from(["EMAIL", "KEY"])))


@given(SPANS)
def test_overlapping_entities_become_one_that_covers_them(entities: list[Entity]) -> None:
    kept = apart(entities)
    assert {p for e in kept for p in range(e.start, e.end)} == {p for e in entities for p in range(e.start, e.end)}
    assert all(one.end <= two.start for one, two in pairwise(kept))


BAIT = {
    "at": "a@", "ats": "@", "mail": "a.a@a.", "dots": "1.", "quads": "1.2.3.4.", "colons": "a:", "double": "1::",
    "run": "aB3", "jwt": "eyJ-", "slack": "xoxb-", "equals": "=1", "pem": "-----BEGIN PRIVATE KEY-----\n",
    "named": "key=1", "quotes": "token'\"", "scheme": "://a:", "telegram": "12345678:AA", "secret": "SECRET_KEY='",
}  # fmt: skip


@pytest.mark.parametrize("bait", BAIT.values(), ids=BAIT)
def test_bait_for_runaway_patterns_ends(bait: str) -> None:
    """100 KB of each: a quadratic pattern would take minutes. `benchmarks/pii.py` has the figures."""
    text = bait * (100_000 // len(bait))
    assert all(0 <= one.start < one.end <= len(text) for one in find_pii(text))


def test_words_are_no_gibberish_and_random_letters_are() -> None:
    words = [b"getUserAuthenticationToken", b"find_by_version_2", b"MultiHeadAttention2", b"a", b""]
    assert not any(map(is_gibberish, words))
    assert is_gibberish(b"xq7Zk2Vb9TqLm3Wd8RfJ5hNc")
    assert surprise(b"return") < surprise(string.ascii_lowercase.encode())
