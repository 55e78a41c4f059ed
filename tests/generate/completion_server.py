"""A real HTTP server on this machine, which answers well or as badly as a test asks; and a session behind one."""

from __future__ import annotations

import json
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = Callable[["Handler", dict[str, Any]], None]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: CompletionServer

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            self.server.bodies.append(body)
            self.server.paths.append(self.path)
            self.server.keys.append(self.headers.get("Authorization"))
            number = len(self.server.bodies) - 1
            self.server.under_way += 1
            self.server.most_under_way = max(self.server.most_under_way, self.server.under_way)
        try:
            with suppress(BrokenPipeError, ConnectionResetError):
                self.server.answers[min(number, len(self.server.answers) - 1)](self, body)
        finally:
            with self.server.lock:
                self.server.under_way -= 1

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def head(self, status: int = 200, kind: str = "application/json", **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True

    def reset(self) -> None:
        """End the connection with a reset instead of an orderly end."""
        self.wfile.flush()
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close_connection = True


class CompletionServer(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, answers: tuple[Answer, ...]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers = answers  # the last one for ever
        self.lock = threading.Lock()
        self.bodies: list[dict[str, Any]] = []
        self.paths: list[str] = []
        self.keys: list[str | None] = []
        self.under_way = self.most_under_way = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass


@contextmanager
def serving(*answers: Answer) -> Iterator[CompletionServer]:
    server = CompletionServer(answers)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def choice(text: str, reason: str | None = "stop", **more: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "text": text, "finish_reason": reason, **more}], "usage": {"prompt_tokens": 7}}


def says(text: str, reason: str | None = "stop", **more: Any) -> Answer:
    """A completion, whole or streamed as it was asked for, some characters at a time."""

    def answer(handler: Handler, body: dict[str, Any]) -> None:
        if not body.get("stream"):
            data = json.dumps(choice(text, reason, **more)).encode()
            handler.head(Content_Length=str(len(data)))
            handler.wfile.write(data)
            return
        handler.head(kind="text/event-stream; charset=utf-8")
        handler.wfile.write(b": a comment\r\n\r\n")
        for start in range(0, len(text), 3):
            handler.wfile.write(b"data: " + json.dumps(choice(text[start : start + 3], None)).encode() + b"\n\n")
        handler.wfile.write(b"data: " + json.dumps(choice("", reason, **more)).encode() + b"\n\ndata: [DONE]\n\n")

    return answer


def fails(status: int, message: str = "no", **headers: str) -> Answer:
    def answer(handler: Handler, body: dict[str, Any]) -> None:
        handler.head(status, **headers)
        handler.wfile.write(json.dumps({"error": {"message": message}}).encode())

    return answer


def raw(data: bytes, kind: str = "application/json", **headers: str) -> Answer:
    def answer(handler: Handler, body: dict[str, Any]) -> None:
        handler.head(200, kind, **headers)
        handler.wfile.write(data)

    return answer
