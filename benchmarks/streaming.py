"""A function that streams, and the client that reads it and says when what arrived.

Writer and reader share a machine, and so a monotonic clock: each chunk begins with the time of its write.
As a program it is the client: `python -m benchmarks.streaming ENDPOINT FUNCTION CHUNKS SIZE PAUSE`; with a PAUSE
between chunks it measures their latency, without one only how long all of it takes.
"""

import json
import sys
import time
from http.client import HTTPConnection

from botocore.eventstream import EventStreamBuffer

from benchmarks.load import quantile

RUNTIME = r"""
import http.client, json, os, time

api = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
INVOCATION = "/2018-06-01/runtime/invocation/"
while True:
    api.request("GET", INVOCATION + "next")
    answer = api.getresponse()
    event = json.loads(answer.read())
    api.putrequest("POST", INVOCATION + answer.headers["Lambda-Runtime-Aws-Request-Id"] + "/response")
    api.putheader("Lambda-Runtime-Function-Response-Mode", "streaming")
    api.putheader("Transfer-Encoding", "chunked")
    api.putheader("Trailer", "Lambda-Runtime-Function-Error-Type, Lambda-Runtime-Function-Error-Body")
    api.endheaders()
    filling = bytes(event["size"] - 20)
    for _ in range(event["chunks"]):
        time.sleep(event["pause"])
        api.send(b"%x\r\n%020d%b\r\n" % (event["size"], time.monotonic_ns(), filling))
    api.send(b"0\r\n\r\n")
    api.getresponse().read()
"""
WRAPPER = '#!/bin/sh\nexec "$1" /var/task/runtime.py\n'
FILES = {"app.py": "", "runtime.py": RUNTIME, "wrapper": WRAPPER}
VARIABLES = {"AWS_LAMBDA_EXEC_WRAPPER": "/var/task/wrapper"}


class Arrivals:
    """When the chunks were written that have arrived, however the events cut them: on a busy machine several are one."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._events = EventStreamBuffer()
        self._left = b""

    def add(self, piece: bytes) -> list[int]:
        """The times of writing that the chunks begin with which are whole now, in nanoseconds."""
        self._events.add_data(piece)
        for event in self._events:
            if event.headers[":event-type"] == "PayloadChunk":
                self._left += event.payload
        whole = len(self._left) - len(self._left) % self._size
        chunks, self._left = self._left[:whole], self._left[whole:]
        return [int(chunks[at : at + 20]) for at in range(0, whole, self._size)]


def main(endpoint: str, function: str, chunks: int, size: int, pause: float) -> None:
    """Latencies in milliseconds, and bytes and seconds of the whole."""
    connection = HTTPConnection(endpoint.removeprefix("http://"), timeout=120)
    path = f"/2021-11-15/functions/{function}/response-streaming-invocations"
    event = json.dumps({"chunks": chunks, "size": size, "pause": pause})
    began = time.monotonic_ns()
    connection.request("POST", path, event)
    answer = connection.getresponse()
    arrivals, latencies, total = Arrivals(size), [], 0
    while piece := answer.read1(1 << 20):
        now = time.monotonic_ns()
        total += len(piece)
        if pause:
            latencies += [(now - written) / 1e6 for written in arrivals.add(piece)]
    seconds = (time.monotonic_ns() - began) / 1e9
    if total < chunks * size or (pause and len(latencies) != chunks):
        raise SystemExit(f"{total} bytes in {len(latencies)} chunks: not all has come")
    found = {"bytes": total, "seconds": seconds}
    if latencies:
        latencies.sort()
        found |= {"p50": quantile(latencies, 0.5), "p99": quantile(latencies, 0.99), "most": latencies[-1]}
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), float(sys.argv[5]))
