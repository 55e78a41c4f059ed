"""From documents to rows: the harness words each document's requests, the model answers them in batches, the harness scores.

A batch is whole documents, and which ones depends on nothing but the documents: what a model answers depends in its last bits
on what is computed beside it, so that a run that was killed goes on with the batches that it would have had.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Container, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from starloom.errors import GenerationError
from starloom.evals.leaderboard.board import Asked
from starloom.evals.leaderboard.harness_tasks import tamed

Row = dict[str, Any]
Answer = Callable[[list[Any]], list[Any]]  # requests of one kind → a result or a GenerationError for each
BYTES_PER_TOKEN: Final = (
    3  # of English under a vocabulary of 8,192 or more, roughly: only the size of batches hangs on it
)


@dataclass(frozen=True, slots=True)
class Document:
    """One document as it is asked."""

    number: int  # among the documents of all subjects
    subject: str
    task: Any  # the harness'
    content: Mapping[str, Any]
    requests: list[Any]  # the harness' instances, in order

    @property
    def tokens(self) -> int:
        """About how many ids are computed: each context once, each continuation, and what may be generated."""
        contexts = {request.args[0] for request in self.requests}
        size = sum(map(len, contexts))
        if self.requests[0].request_type == "generate_until":
            return size // BYTES_PER_TOKEN + 256
        return (size + sum(len(request.args[1]) for request in self.requests)) // BYTES_PER_TOKEN


def documents(tasks: Mapping[str, Any], limit: int | None) -> Iterator[Document]:
    """What the harness asks of each document, in order; `limit` is of each subject."""
    number = 0
    for subject, task in tasks.items():
        with tamed():
            numbered = list(task.doc_iterator(limit=limit))
        for place, content in numbered:
            with tamed():
                context = task.fewshot_context(
                    content, task.config.num_fewshot or 0, gen_prefix=task.doc_to_prefix(content)
                )
                requests = task.construct_requests(
                    doc=content, ctx=context, metadata=(task.config.task, place, 1), apply_chat_template=False,
                    chat_template=None,
                )  # fmt: skip
            yield Document(number, subject, task, content, requests if isinstance(requests, list) else [requests])
            number += 1


def batches(asked: Iterator[Document], tokens: int) -> Iterator[list[Document]]:
    """Documents in order, as many together as have about so many tokens, and at least one."""
    batch: list[Document] = []
    room = tokens
    for document in asked:
        if batch and document.tokens > room:
            yield batch
            batch, room = [], tokens
        batch.append(document)
        room -= document.tokens
    if batch:
        yield batch


def answered(
    one: Asked, asked: Iterator[Document], answer: Answer, tokens: int, kept: Container[int] = ()
) -> Iterator[list[Row]]:
    """A list of rows for each batch, in order; none for batches that are kept whole."""
    for batch in batches(asked, tokens):
        if all(document.number in kept for document in batch):
            yield []
            continue
        answers = iter(answer([request for document in batch for request in document.requests]))
        yield [scored(one, document, [next(answers) for _ in document.requests]) for document in batch]


def scored(one: Asked, document: Document, answers: list[Any]) -> Row:
    """One line of the documents' file. What failed has no metrics."""
    failed = next((str(answer) for answer in answers if isinstance(answer, GenerationError)), None)
    first = document.requests[0]
    row: Row = {
        "task": one.name,
        "subject": document.subject or None,
        "document": document.number,
        "content": dict(document.content),
        "prompt_sha256": hashlib.sha256(
            "\0".join(request.args[0] for request in document.requests).encode()
        ).hexdigest(),
    }
    if first.request_type == "generate_until":
        row["text"] = None if failed else answers[0]
    else:
        row["asked"] = [request.args[1] for request in document.requests]
        row["log_likelihoods"] = None if failed else [float(total) for total, _ in answers]
        row["greedy"] = None if failed else [bool(greedy) for _, greedy in answers]
    return {**row, "metrics": {} if failed else _metrics(document, answers), "error": failed}


def _metrics(document: Document, answers: list[Any]) -> dict[str, float]:
    """The harness' metrics by name, `NAME,FILTER` where a text is read in a way that has a name."""
    for request, answer in zip(document.requests, answers, strict=True):
        request.resps = [answer]
    found: dict[str, float] = {}
    for ensemble in document.task._filters:
        ensemble.apply(document.requests)
        given = [request.filtered_resps[ensemble.name] for request in document.requests]
        for metric, value in document.task.process_results(document.content, given).items():
            found[metric if ensemble.name == "none" else f"{metric},{ensemble.name}"] = float(value)
    return found
