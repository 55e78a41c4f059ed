"""POST to a server that nobody has to trust: bounded in size and time, tried again where that can help.

What is covered: an answer that is too long, that drips, stalls, breaks off, is not what it says it is, or says to come back
later; a key goes to the one server that it is meant for, encrypted or to this machine, and into no message.
What is not covered: a server that answers well-formed nonsense. Redirections are not followed.
"""

from __future__ import annotations

import http.client
import json
import random
import socket
import ssl
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, TypeVar
from urllib.parse import urlsplit

from starloom.errors import ConfigError, GenerationError

Result = TypeVar("Result")
LOCAL = frozenset(("localhost", "127.0.0.1", "::1"))
AGAIN = frozenset((408, 429, 500, 502, 503, 504))  # statuses that another try may change
SHOWN = 300  # characters of a server's own words in an error


@dataclass(frozen=True, slots=True)
class Limits:
    """How much of a server one takes. All our choice; a completion of 8,192 tokens is some 40 kB."""

    connect_s: float = 10.0
    silence_s: float = 120.0  # without a byte
    total_s: float = 600.0  # of one try, however it drips
    body_bytes: int = 16 << 20
    line_bytes: int = 1 << 20  # of a stream
    tries: int = 5
    first_wait_s: float = 0.5  # doubles with each try; the wait is a random share of it, so that clients spread
    longest_wait_s: float = 30.0

    def __post_init__(self) -> None:
        for name in self.__slots__:
            if getattr(self, name) <= 0:
                raise ConfigError(f"{name} of an endpoint is {getattr(self, name)}; it must be above 0")


class RefusedError(GenerationError):
    """A status that another try does not change."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class _Again(Exception):
    """A try that failed in a way that another may not."""

    def __init__(self, why: str, wait_s: float | None = None) -> None:
        super().__init__(why)
        self.wait_s = wait_s


@dataclass(frozen=True)
class Server:
    """One server, by its URL. `key` is sent as a bearer token and never shown."""

    url: str
    key: str | None = field(default=None, repr=False)
    limits: Limits = Limits()
    sleep: Callable[[float], None] = time.sleep
    chance: random.Random = field(default_factory=random.Random, repr=False)

    def __post_init__(self) -> None:
        try:
            parts = urlsplit(self.url)
            sound = parts.scheme in ("http", "https") and parts.hostname is not None and parts.port != 0
            sound = sound and self.url.isascii() and self.url.isprintable() and not {" ", "?", "#"} & {*self.url}
        except ValueError:  # brackets or a port that cannot be
            sound = False
        if not sound:
            raise ConfigError(f"'{self.url}' is no address of a server; write http://HOST:PORT or https://HOST")
        if parts.username or parts.password:
            raise ConfigError(
                "the address of a server holds a password; name an environment variable with the key instead"
            )
        if self.key is not None:
            if parts.scheme == "http" and parts.hostname not in LOCAL:
                raise ConfigError(f"the key would travel to {parts.hostname} unencrypted; use https")
            if not self.key.isprintable() or not self.key.isascii():
                raise ConfigError(
                    "the key holds a character that no header can carry; set the environment variable anew"
                )

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """The JSON that a server answers with. Raises GenerationError."""

        def once() -> Any:
            with self._answer(path, body) as answer:
                data = b"".join(answer.chunks())
                return answer.json(data)

        return self._tried(once)

    def stream(self, path: str, body: Mapping[str, Any]) -> Iterator[Any]:
        """The JSON of each event of a stream, until `[DONE]`; ending before it is breaking off. Raises GenerationError.

        A server that does not stream is taken at its one answer. Tried again only until the first event came: what was
        given out cannot be taken back.
        """

        def begin() -> tuple[list[Any], Generator[Any, None, None]]:
            events = self._events(path, body)
            return list(islice(events, 1)), events

        first, events = self._tried(begin)
        with closing(events):
            try:
                yield from first
                yield from events
            except _Again as error:
                raise GenerationError(f"{self.url}: {error}, in the middle of an answer; ask again") from None

    def _events(self, path: str, body: Mapping[str, Any]) -> Generator[Any, None, None]:
        with self._answer(path, body) as answer:
            if answer.kind == "application/json":
                yield answer.json(b"".join(answer.chunks()))
                return
            ended = False
            for line in answer.lines():
                name, _, data = line.partition(b":")
                if name != b"data":
                    continue  # a comment, a blank line, or a field that this protocol does not use
                if data.strip() == b"[DONE]":
                    ended = True
                    break
                yield answer.json(data)
            if not ended:
                raise _Again("the stream broke off before its end")

    def _tried(self, once: Callable[[], Result]) -> Result:
        wait_s = self.limits.first_wait_s
        for number in range(1, self.limits.tries + 1):
            try:
                return once()
            except _Again as error:
                if number == self.limits.tries:
                    raise GenerationError(f"{self.url}: {error}, {number} times; is the server well?") from None
                asked = error.wait_s if error.wait_s is not None else self.chance.random() * wait_s
                self.sleep(min(asked, self.limits.longest_wait_s))
                wait_s = min(2 * wait_s, self.limits.longest_wait_s)
        raise AssertionError("the last try returns or raises")

    @contextmanager
    def _answer(self, path: str, body: Mapping[str, Any]) -> Iterator[_Answer]:
        """A good answer's head. Raises _Again, or GenerationError for what another try cannot change."""
        parts = urlsplit(self.url)
        assert parts.hostname is not None
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        connection = kind(parts.hostname, parts.port, timeout=self.limits.connect_s)
        late = threading.Event()
        headers = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
        if self.key is not None:
            headers["Authorization"] = f"Bearer {self.key}"
        with closing(connection):
            try:
                connection.connect()
                connection.sock.settimeout(self.limits.silence_s)
                with _deadline(connection.sock, self.limits.total_s, late):
                    connection.request("POST", parts.path.rstrip("/") + path, json.dumps(body).encode(), headers)
                    answer = _Answer(self, connection.getresponse(), late)
                    if answer.status != 200:
                        answer.refuse()
                    yield answer
            except TimeoutError:
                raise _Again("no answer in time") from None
            except ssl.SSLCertVerificationError as error:
                raise GenerationError(f"{self.url}: its certificate is not trusted ({error.verify_message})") from None
            except (http.client.HTTPException, OSError) as error:
                if late.is_set():
                    raise _Again(f"the answer was not whole after {self.limits.total_s:g} s") from None
                raise _Again(f"the connection failed ({self.shown(str(error) or type(error).__name__)})") from None

    def shown(self, text: str) -> str:
        """A server's words for an error: short, in one line, without the key."""
        text = " ".join(text.split())
        if self.key:
            text = text.replace(self.key, "…")
        return text if len(text) <= SHOWN else text[:SHOWN] + "…"


@contextmanager
def _deadline(connection: socket.socket, seconds: float, late: threading.Event) -> Iterator[None]:
    """End a connection when its time is up: whatever reads from it, the head too, then finds its end."""

    def end() -> None:
        late.set()
        with suppress(OSError):  # it ended by itself
            connection.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


class _Answer:
    """A response as it comes in, within the limits."""

    def __init__(self, server: Server, response: http.client.HTTPResponse, late: threading.Event) -> None:
        self._server = server
        self._response = response
        self._late = late
        self.status = response.status
        self.kind = (response.getheader("Content-Type") or "").partition(";")[0].strip().lower()

    def chunks(self) -> Iterator[bytes]:
        """The body, as it arrives."""
        limits, seen = self._server.limits, 0
        while True:
            chunk = self._response.read1(65536)
            seen += len(chunk)
            if seen > limits.body_bytes:
                raise GenerationError(f"{self._server.url}: the answer is larger than {limits.body_bytes:,} bytes")
            if not chunk:
                if self._late.is_set():
                    raise _Again(f"the answer was not whole after {limits.total_s:g} s")
                if self._response.length:  # what Content-Length promised and did not come
                    raise _Again("the connection ended before the answer did")
                return
            yield chunk

    def lines(self) -> Iterator[bytes]:
        """The lines of a stream, without their ends."""
        if self.kind != "text/event-stream":
            raise GenerationError(
                f"{self._server.url}: a stream was asked for and the answer is of type '{self.kind[:60]}'"
            )
        pending = b""
        for chunk in self.chunks():
            *whole, pending = (pending + chunk).split(b"\n")
            if len(pending) > self._server.limits.line_bytes:
                raise GenerationError(
                    f"{self._server.url}: a line of the stream is longer than {self._server.limits.line_bytes:,} bytes"
                )
            yield from (line.rstrip(b"\r") for line in whole)

    def json(self, data: bytes) -> Any:
        """The meaning of a body or an event; the type has to say that it is one."""
        if self.kind not in ("application/json", "text/event-stream"):
            raise GenerationError(
                f"{self._server.url}: the answer is of type '{self.kind[:60]}' and not JSON; is this the address of the API?"
            )
        try:
            return json.loads(data)
        except (ValueError, RecursionError):
            text = self._server.shown(data[: 2 * SHOWN].decode("utf-8", "replace"))
            raise GenerationError(f"{self._server.url}: the answer is not JSON: {text}") from None

    def refuse(self) -> None:
        """Say what a status other than 200 means. Raises _Again or GenerationError."""
        said = b""
        for chunk in self.chunks():
            said += chunk
            if len(said) > 4 * SHOWN:
                break
        text = self._server.shown(_message(said))
        if self.status in AGAIN:
            after = self._response.getheader("Retry-After") or ""
            raise _Again(f"status {self.status}: {text}", float(after) if after.isdecimal() else None)
        remedy = {
            401: "; name the environment variable that holds the key",
            403: "; the key does not allow this",
            404: "; check the address and the model's name",
        }.get(
            self.status, "; redirections are not followed, give the final address" if 300 <= self.status < 400 else ""
        )
        raise RefusedError(self.status, f"{self._server.url}: status {self.status}: {text}{remedy}")


def _message(data: bytes) -> str:
    """The message of an API's error, or its text."""
    text = data.decode("utf-8", "replace")
    try:
        said = json.loads(text)
    except (ValueError, RecursionError):
        return text
    for key in ("error", "message", "detail"):
        if isinstance(said, dict) and key in said:
            said = said[key]
    return said if isinstance(said, str) else json.dumps(said)
