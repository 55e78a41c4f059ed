"""Pull requests: The Stack v2's filters, and the text behind its controls.

Thresholds and order: bigcode-project/the-stack-v2 `pull_requests_and_issues/render.py` and `process_pr_events.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from starloom.corpus.conversations import is_bot, masked, pseudonyms, truncated, without_mail
from starloom.corpus.hunks import add_hunks, changed_lines, lines_between
from starloom.corpus.pull_request_fields import ChangedFile, Event, PullRequest
from starloom.corpus.traced import Parts, Traced
from starloom.records import uniform

SHORTEST_TITLE, LONGEST_TITLE = 10, 500  # characters
SHORTEST_TEXT, LONGEST_TEXT = 20, 1000
SHORTEST, LONGEST = 200, 1_000_000  # of the whole
LONGEST_HUNK = 10_000  # of a hunk that a review comments on
WHOLE_FILES, WINDOW = 0.2, 32  # as for commits
FEWEST_CONTEXT, MOST_CONTEXT = 3, 10  # lines around a change in a diff, the second exclusive
ROUTINE = ("depend", "release")  # in a title: what robots open, and people merge unread
OMITTED = "[OMITTED]"
DATA_LANGUAGES: Mapping[str, tuple[str, ...]] = {  # and what their generated files are called
    "YAML": ("pack", "lock", "yarn", "output", "swagger", "openapi"),
    "JSON": ("pack", "lock", "output"),
}
MOST_OF_DATA, KEPT_OF_DATA = 0.5, 0.1  # share of the changed files' text; chance that the file stays

OPENED = ("opened", "edited", "reopened")


def reasons_against_pull_request(
    request: PullRequest, identity: bytes, of_repository: int = 1, seed: int = 0
) -> list[str]:
    """Every filter that drops it; `of_repository` is how many pull requests its repository has."""
    reasons = list(_reasons(request, identity, of_repository, seed))
    if not reasons and sum(map(_least, request.files)) > LONGEST:  # known before anything is laid out
        return ["pull_request_long"]
    if not reasons:
        parts = rendered_pull_request(request, identity, seed)
        size = sum(len(part.text) for part in parts.parts)
        if size < SHORTEST or size > LONGEST:
            reasons.append("pull_request_short" if size < SHORTEST else "pull_request_long")
    return reasons


def _reasons(request: PullRequest, identity: bytes, of_repository: int, seed: int) -> Iterator[str]:
    opening = next((one for one in request.events if one.kind == "pull_request"), None)
    if opening is None:
        yield "pull_request_without_opening"
        return
    if any(is_bot(one.author) for one in request.events if one.said.get("status") == "opened"):
        yield "pull_request_of_bot"
    if not opening.said["text"].strip():
        yield "pull_request_without_description"
    elif len(_comment(opening).text) < SHORTEST_TEXT:
        yield "pull_request_description_short"
    if all(one.kind == "pull_request" or is_bot(one.author) for one in request.events):
        yield "pull_request_without_answer"
    merged = any(one.said.get("merged", "").lower() == "true" for one in request.events)
    if not merged and not any(one.said.get("state") == "approved" for one in request.events):
        yield "pull_request_not_accepted"
    bases = {one.said["base_commit"] for one in request.events if one.said.get("base_commit")}
    if len(bases) - 1 - merged > 0:
        yield "pull_request_rebased"
    heads = {file.head for file in request.files}
    first = next((one.said["head"] for one in request.events if one.said.get("head")), None)
    if not heads or (first is not None and first not in heads):
        yield "pull_request_without_diff"
    title = opening.said.get("title", "")
    if len(title) < SHORTEST_TITLE:
        yield "pull_request_title_short"
    if any(word in title.lower() for word in ROUTINE):
        yield "pull_request_is_routine"
    if uniform(seed, "pull_request", identity) >= kept_of_repository(of_repository):
        yield "pull_request_sampled_out"


def _least(file: ChangedFile) -> int:
    """Characters of a file's changed lines: its diff has them all."""
    start, old_end, new_end = changed_lines(file.before, file.after)
    spans = lines_between(file.before, start, old_end), lines_between(file.after, start, new_end)
    return sum(end - begin for begin, end in spans)


def kept_of_repository(count: int) -> float:
    """The share of a repository's pull requests that is kept: from 0.8 down to 0.1, about 100 of the largest."""
    if count <= 1:  # our choice: the published line begins at 0.8 here too
        return 1.0
    return 0.8007 - 0.0007 * count if count <= 1000 else 100 / count


def _comment(event: Event) -> Traced:
    """What somebody wrote, without mail, without HTML comments, cut in lines and in characters."""
    text = without_mail(Traced.of(event.said.get("text", "")))
    text = truncated(text.replaced(_html_comments(text.text)))
    return text if len(text) <= LONGEST_TEXT else text.cut(0, LONGEST_TEXT)


def _html_comments(text: str) -> list[tuple[int, int, str]]:
    """From each `<!--` to its `-->`; one that does not end goes to the end of nothing: it stays."""
    found = []
    at = text.find("<!--")
    while at >= 0:
        end = text.find("-->", at)
        if end < 0:
            break
        found.append((at, end + 3, ""))
        at = text.find("<!--", end)
    return found


def rendered_pull_request(request: PullRequest, source: bytes, seed: int) -> Parts:
    """`<pr>Title: T\\nusername_0: TEXT<pr_status>opened<repo_name>R<pr_base>…<pr_diff>…`, then what was said about it.

    Names of controls are abstract: `pull_request`, `pull_request_status`, …. Comments of fewer than SHORTEST_TEXT
    characters are left out. A new head shows its diff before the event that came with it.
    """
    return _Rendering(request, source, seed).parts


class _Rendering:
    def __init__(self, request: PullRequest, source: bytes, seed: int) -> None:
        self.request, self.source, self.seed = request, source, seed
        self.names = pseudonyms(one.author for one in request.events)
        self.parts = Parts()
        self.shown = self._files()  # number of the first file of each path → lines that are shown
        head, opened = "", False
        for event in request.events:
            if event.kind == "comment":
                self._remark(event, "pull_request_comment")
                continue
            fresh = event.said.get("head", head) != head
            if event.kind == "pull_request" and not opened:
                self._opening(event)
                opened = True
                self._bases()
                self._diff(event.said.get("head", head))
            elif opened:
                if fresh:
                    self._diff(event.said["head"])
                {"pull_request": self._opening, "review": self._review, "review_comment": self._on_code}[event.kind](
                    event
                )
            head = event.said.get("head", head)

    def _field(self, control: str, event: Event, name: str) -> None:
        value = event.said.get(name)
        if value:
            self.parts.add(control, Traced.of(value), self.source, event.field(name))

    def _said(self, event: Event, text: Traced) -> None:
        self.parts.insert(self.names[event.author.lower()])
        if text.text:
            self.parts.insert(": ")
            self.parts.add(None, masked(text, self.names), self.source, event.field("text"))

    def _remark(self, event: Event, control: str) -> None:
        text = _comment(event)
        if len(text) < SHORTEST_TEXT or is_bot(event.author):
            return
        self.parts.control(control)
        self._said(event, text)
        self._field("pull_request_event_id", event, "id")
        self._field("pull_request_status", event, "status")

    def _opening(self, event: Event) -> None:
        """An event of the pull request itself: opened, edited, closed, …."""
        first = not self.parts.parts
        self.parts.control("pull_request")
        told = event.said.get("status", "opened") in OPENED
        title = event.said.get("title")
        if told and title:
            self.parts.insert("Title: ")
            cut = Traced.of(title)
            self.parts.add(None, masked(cut.cut(0, LONGEST_TITLE), self.names), self.source, event.field("title"))
            self.parts.insert("\n")
        self._said(event, _comment(event) if told else Traced.of(""))
        self._field("pull_request_status", event, "status")
        if first:
            name = Traced.of(self.request.repository)
            host = "github.com/"
            skipped = len(host) if name.text.startswith(host) else 0
            self.parts.add("repository", name.cut(skipped, len(name)), self.source, "repository")
        if event.said.get("status") == "closed":
            self._field("pull_request_is_merged", event, "merged")

    def _review(self, event: Event) -> None:
        self.parts.control("pull_request_review")
        self._said(event, _comment(event))
        self._field("pull_request_event_id", event, "id")
        self._field("pull_request_review_state", event, "state")

    def _on_code(self, event: Event) -> None:
        text = _comment(event)
        if len(text) < SHORTEST_TEXT or is_bot(event.author):
            return
        self.parts.control("pull_request_review_comment")
        self._field("pull_request_event_id", event, "id")
        self._field("pull_request_in_reply_to_review_id", event, "to_review")
        self._field("pull_request_in_reply_to_comment_id", event, "to_comment")
        self._field("pull_request_file", event, "path")
        self._field("pull_request_diff_hunk_comment_line", event, "line")
        if len(event.said.get("hunk", "")) > LONGEST_HUNK:
            self.parts.control("pull_request_diff_hunk", OMITTED)
        else:
            self._field("pull_request_diff_hunk", event, "hunk")
        self.parts.control("pull_request_comment")
        self._said(event, text)

    def _files(self) -> dict[int, tuple[int, int]]:
        """The lines of each path that are shown: all that any of its changes touched, and some around."""
        spans: dict[str, tuple[ChangedFile, int, int]] = {}
        for file in self.request.files:
            start, end, _ = changed_lines(file.before, file.after)
            first, low, high = spans.get(file.path, (file, start, end))
            spans[file.path] = (first, min(low, start), max(high, end))
        shown = {}
        for first, start, end in spans.values():
            count = first.before.count("\n") + 1
            if self._chance("whole", first) < WHOLE_FILES:
                shown[first.number] = (0, count)
            else:
                above, below = (int(self._chance(side, first) * WINDOW) for side in ("above", "below"))
                shown[first.number] = (max(0, start - above), min(count, end + below))
        return self._without_data(shown)

    def _without_data(self, shown: dict[int, tuple[int, int]]) -> dict[int, tuple[int, int]]:
        files = {file.number: file for file in self.request.files}
        sizes = {
            number: lines_between(files[number].before, *lines)[1] - lines_between(files[number].before, *lines)[0]
            for number, lines in shown.items()
        }
        total = max(sum(sizes.values()), 1)
        kept = {}
        for number, lines in shown.items():
            file = files[number]
            marks = DATA_LANGUAGES.get(file.language)
            large = marks is not None and (any(m in file.path for m in marks) or sizes[number] / total > MOST_OF_DATA)
            if not large or self._chance("data", file) < KEPT_OF_DATA:
                kept[number] = lines
        return kept

    def _chance(self, name: str, file: ChangedFile) -> float:
        return uniform(self.seed, "pull_request", name, self.source, file.path)

    def _bases(self) -> None:
        if not self.shown:
            return
        self.parts.control("pull_request_base")
        files = {file.number: file for file in self.request.files}
        for number, lines in self.shown.items():
            file = files[number]
            self.parts.add("pull_request_file", Traced.of(file.path), self.source, f"file_path:{number}")
            code = Traced.of(file.before).cut(*lines_between(file.before, *lines))
            self.parts.add("pull_request_base_code", code, self.source, f"before:{number}")

    def _diff(self, head: str) -> None:
        paths = {file.path: self.shown[file.number] for file in self.request.files if file.number in self.shown}
        files = [file for file in self.request.files if file.head == head and file.path in paths]
        if not files:
            return
        self.parts.control("pull_request_diff")
        for file in files:
            self.parts.add("pull_request_file", Traced.of(file.path), self.source, f"file_path:{file.number}")
            spread = MOST_CONTEXT - FEWEST_CONTEXT
            context = FEWEST_CONTEXT + int(uniform(self.seed, "hunks", self.source, file.path, head) * spread)
            add_hunks(
                self.parts,
                Traced.of(file.before),
                Traced.of(file.after),
                (f"before:{file.number}", f"after:{file.number}"),
                self.source,
                context=context,
                first_line=paths[file.path][0],
            )
