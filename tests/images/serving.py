"""A server on this machine that sends one file, and misbehaves where a test wants it."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Served:
    """What the server has, how it behaves, and the ranges that were asked for."""

    content: bytes = b""
    ranges: bool = True
    says_length: bool = True
    breaks_after: int | None = None  # bytes of the body, once
    status: int | None = None
    first: int | None = None  # the byte it claims to begin with
    asked: list = field(default_factory=list)

    def answer(self, to: BaseHTTPRequestHandler) -> None:
        """Send the file, or the part of it that is asked for."""
        wanted = to.headers.get("Range")
        self.asked.append(wanted)
        start = int(wanted.removeprefix("bytes=")[:-1]) if wanted and self.ranges else 0
        size = len(self.content)
        if self.status or start >= size:
            to.send_response(self.status or 416)
            to.send_header("Content-Range", f"bytes */{size}")
            to.send_header("Content-Length", "0")
            to.end_headers()
            return
        body = self.content[start:]
        to.send_response(206 if start else 200)
        if start:
            first = start if self.first is None else self.first
            to.send_header("Content-Range", f"bytes {first}-{size - 1}/{size}")
        if self.says_length:
            to.send_header("Content-Length", str(len(body)))
        to.end_headers()
        stop, self.breaks_after = self.breaks_after, None
        to.wfile.write(body[:stop])


@contextmanager
def serve(served: Served) -> Iterator[str]:
    """Yield the address under which the file is served."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            served.answer(self)

        def log_message(self, *words: object) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{http.server_port}/pictures.tar"
    finally:
        http.shutdown()
        http.server_close()
        thread.join()
