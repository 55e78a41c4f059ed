"""The report: figures equal to the manifests, nothing from outside, nothing unescaped, nothing hidden."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import hand_written
import pytest

from starloom.report import Report
from starloom.report.page import render
from starloom.stage import Runtime, build
from starloom.store import Built, Store

LOADS = {"src", "srcset", "href", "action", "formaction", "poster", "data", "background", "xlink:href", "manifest"}
VOID = {"meta", "link", "br", "img", "input", "hr", "base"}


class Page(HTMLParser):
    """Every tag with its attributes, and the text; checks that tags nest."""

    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.pieces: list[str] = []  # texts between tags
        self.open: list[str] = []
        self.feed(source)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data
        self.pieces.append(data)

    @property
    def words(self) -> str:
        return " ".join(" ".join(self.pieces).split())


@pytest.fixture(scope="module")
def builts(tmp_path_factory: pytest.TempPathFactory) -> list[Built]:
    return hand_written.built(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def source(builts: list[Built]) -> str:
    return render(builts)


@pytest.fixture(scope="module")
def page(source: str) -> Page:
    return Page(source)


def test_the_page_is_one_file_that_fetches_nothing_and_runs_nothing(page: Page) -> None:
    assert not page.open  # every tag was closed
    for tag, attributes in page.tags:
        assert tag not in ("script", "iframe", "object", "embed", "link", "base", "form")
        assert not [name for name in attributes if name.startswith("on")]
        for name in LOADS & attributes.keys():
            assert (attributes[name] or "").startswith("#")
    policy = next(one for _, one in page.tags if one.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in (policy["content"] or "")


def test_the_style_loads_nothing(source: str) -> None:
    style = source[source.index("<style>") : source.index("</style>")]
    assert not re.search(r"url\(|@import|//", style)


def test_links_of_the_page_lead_to_places_in_it(page: Page) -> None:
    places = {attributes.get("id") for _, attributes in page.tags}
    links = [(attributes["href"] or "")[1:] for tag, attributes in page.tags if tag == "a"]
    assert links
    assert set(links) <= places


def test_what_a_file_says_is_shown_as_text(page: Page, source: str) -> None:
    for hostile in ("<script>alert(2)</script>", "<img src=http://evil.example/x.png>", "</pre></script>"):
        assert hostile in page.text
        assert hostile not in source
    assert "a/<script>alert(1)</script>" in page.text  # a path
    assert "github.com/<b>evil</b>/x" in page.text  # a repository
    assert "<i>GPL</i>" in page.text  # an attribute's value
    assert "    return </mark>4" in page.text  # a completion
    assert "app/<u>three</u>.py" in page.text
    assert not [tag for tag, _ in page.tags if tag in ("img", "u")]


def test_nothing_in_the_page_hides_or_turns_around(source: str, page: Page) -> None:
    assert not re.search("[\u202a-\u202e\u2066-\u2069\u200b-\u200f\x00-\x08\x0b-\x1f\x7f-\x9f]", source)
    assert "⟨U+202E⟩gnp.exe^[[31m" in page.text
    assert "\\xff" in page.text  # of a path that is no UTF-8


def test_kept_and_dropped_add_up_to_what_the_mix_says(page: Page, builts: list[Built]) -> None:
    counts = next(built for built in builts if built.name == "mix").counts
    text = page.words
    assert f"files kept {counts['rows_out']} 42.9 % of {counts['rows_in']}" in text
    for reason, number in counts["dropped"].items():
        assert f"{reason.replace('_', ' ')} {number} file 14.3 %" in text


def test_every_step_is_told_with_its_fingerprint_and_summary(page: Page, builts: list[Built]) -> None:
    text = page.words
    for built in builts:
        assert built.name in text
        assert built.fingerprint in text
        assert " ".join(built.manifest["summary"].split()) in text
    assert text.count("built by other code") == 0


def test_a_directory_that_other_code_built_is_marked(builts: list[Built]) -> None:
    other = Built(builts[0].directory, {**builts[0].manifest, "code": "0.0.1+000000000000"})
    assert "0.0.1+000000000000 (built by other code" in Page(render([other, *builts[1:]])).text


def test_tokens_and_bits_per_byte_are_those_of_the_steps(page: Page) -> None:
    text = page.words
    assert "tokens 3,277 3.00 bytes each" in text  # 2,500 for training, 777 held out
    assert "training 2 2,500 7.5 kB 3.000" in text
    assert "A vocabulary of 4 tokens." in text
    assert "tokens trained on 409,600 in 400 steps" in text
    assert "this model 1.234" in text or "this model 1.235" in text
    assert "gzip -9, per file 1.819" in text
    assert "xz -9, per file 1.740" in text


def test_curves_say_their_figures_under_the_pointer(page: Page) -> None:
    at_end = re.search(r"step 400\ntraining (\S+)\n", page.text)
    assert at_end is not None
    assert 4 * 400**-0.2 <= float(at_end[1]) <= 4 * 390**-0.2
    assert re.search(r"step 400\ntraining \S+\nheld out 1\.23[45]", page.text)  # of the evaluation, not of the log


def test_an_excerpt_marks_the_place_that_decided_and_is_bounded(page: Page, source: str) -> None:
    excerpts = re.findall(r'<figure class="excerpt">.*?<pre>(.*?)</pre>', source, re.DOTALL)
    marked = next(one for one in excerpts if "<mark>" in one)
    assert marked.startswith("x = 1\n<mark>yyy")
    assert max(len(re.sub("<.*?>", "", one)) for one in excerpts) < 1000  # 400 characters, escaped
    assert "y" * 395 not in page.text


def test_duplicates_are_shown_with_the_one_that_stays(source: str) -> None:
    kept = re.search(r'<li class="stays"><b>(.*?)</b>', source)
    assert kept is not None
    assert kept[1] == "lib/two.py"
    assert "lib/two_again.py" in source


def test_what_the_model_wrote_is_marked_inside_what_it_was_given(source: str) -> None:
    assert '<span class="given">def three():\n</span><mark class="made">    x = 3\n</mark>' in source
    assert '</mark><span class="given">    return 3\n</span>' in source


def test_control_tokens_are_drawn_apart_from_text(source: str) -> None:
    assert '<span class="control">file name</span>lib/' in source


def test_the_stage_writes_the_page_and_says_where(tmp_path: Path) -> None:
    stage = Report(hand_written.journey())
    built = build(stage, Store(tmp_path), Runtime())
    assert stage.closing(built) == f"report: {built.directory / 'report.html'}"
    assert "lib/one.py" in built.read_bytes("report.html").decode()
    assert built.manifest["files"].keys() == {"report.html", "languages.json", "dataset_card.md"}


def test_the_same_directories_give_the_same_page(builts: list[Built], source: str) -> None:
    assert render(builts) == source


@pytest.mark.parametrize("last", range(1, 12))
def test_any_part_of_a_journey_has_a_page(last: int, builts: list[Built]) -> None:
    assert not Page(render(builts[:last])).open


def test_a_journey_that_held_nothing_out_says_so(tmp_path: Path) -> None:
    note = {"note": "Nothing was held out.", "bits_per_byte": {}, "scored": {"files": 0}, "languages": {}}
    stages = (
        hand_written.HeldOut(lambda: {"results.json": note}),
        hand_written.Samples(lambda: {"completions.jsonl": []}),
    )
    assert "Nothing was held out." in Page(render(hand_written.built(tmp_path, stages))).text
