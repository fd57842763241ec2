"""A gate at which functions wait until a test opens it, so that they run at the same time for as long as it wants."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PASSES_GATE = """
import os, urllib.request

def handler(event, context):
    if event.get("gate"):
        urllib.request.urlopen(event["gate"], timeout=100).close()
    return {
        "type": os.environ["AWS_LAMBDA_INITIALIZATION_TYPE"],
        "version": context.function_version,
        "stream": os.environ["AWS_LAMBDA_LOG_STREAM_NAME"],
        "stage": os.environ.get("STAGE"),
    }
"""
"""Python: waits at the gate that the event names, if it names one, and says what it runs in."""


@dataclass
class Gate:
    """`url` is answered once `open` has been called; `arrived` counts those who came, `most` who were here at once."""

    url: str = ""
    inside: int = 0
    most: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)
    arrived: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    opened: threading.Event = field(default_factory=threading.Event)

    def open(self) -> None:
        self.opened.set()

    def await_arrivals(self, count: int) -> None:
        for _ in range(count):
            assert self.arrived.acquire(timeout=100)


@contextmanager
def gate(host: str) -> Iterator[Gate]:
    """A gate that functions reach at this address of the machine."""
    made = Gate()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            with made.lock:
                made.inside += 1
                made.most = max(made.most, made.inside)
            made.arrived.release()
            made.opened.wait(100)
            with made.lock:
                made.inside -= 1
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer((host, 0), Handler) as server:
        made.url = f"http://{host}:{server.server_port}/"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield made
        finally:
            made.open()
            server.shutdown()
            thread.join()
