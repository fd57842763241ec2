"""A small Berth for tests of starting and stopping: owns a data directory, answers `/health`, obeys or ignores SIGTERM.

python program.py DATA_DIR MODE --ready-fd N        MODE: kind | stubborn | dies | silent
"""

import os
import signal
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

from runtime.instance import acquire


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'{"status": "ok"}')

    def log_message(self, *_: Any) -> None:
        pass


def main() -> None:
    data_dir, mode, ready = Path(sys.argv[1]), sys.argv[2], int(sys.argv[4])
    sys.stderr.write(f"mode {mode}\n")
    if mode == "dies":
        sys.exit("the disk is on fire")
    with acquire(data_dir) as instance, HTTPServer(("127.0.0.1", 0), Handler) as server:
        ending = threading.Event()
        if mode == "kind":
            signal.signal(signal.SIGTERM, lambda *_: ending.set())
        if mode == "stubborn":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        instance.write_state(url)
        if mode != "silent":
            os.write(ready, url.encode() + b"\n")
            os.close(ready)
        ending.wait()


main()
