"""Where programs inside sandboxes report to a test, and wait until it lets them go on.

So a test can be sure of an order of events without a sleep, and learns of every death: the connection ends with the
process. What programs use is `PARTY` or `NODE_PARTY`, a module for a layer: the desk's other side, and calls of the
Extensions API.
"""

import json
import socketserver
import threading
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

PATIENCE = 20.0
"""Seconds until a test stops waiting for what does not come."""

PARTY = """
import http.client, json, os, signal, socket, threading


class Desk:
    def __init__(self, who):
        host, _, port = os.environ["DESK"].rpartition(":")
        self._lines = socket.create_connection((host, int(port))).makefile("rw")
        self._who = who

    def tell(self, what, **facts):
        # Comes back when the test lets us go on.
        print(json.dumps({"who": self._who, "what": what, "facts": facts}), file=self._lines, flush=True)
        self._lines.readline()


class Extension:
    def __init__(self, name):
        self.name = name
        self._identifier = {}
        self._api = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])

    def _call(self, method, path, headers, body=None):
        self._api.request(method, "/2020-01-01/extension" + path, body, headers)
        answer = self._api.getresponse()
        return answer.status, answer.headers, json.loads(answer.read())

    def register(self, *events):
        # Status and document.
        headers = {"Lambda-Extension-Name": self.name, "Lambda-Extension-Accept-Feature": "accountId"}
        body = json.dumps({"events": events})
        status, given, document = self._call("POST", "/register", headers, body)
        if status == 200:
            self._identifier = {"Lambda-Extension-Identifier": given["Lambda-Extension-Identifier"]}
        return status, document

    def next(self):
        return self._call("GET", "/event/next", self._identifier)[2]

    def give_up(self, path, reason):
        headers = {**self._identifier, "Lambda-Extension-Function-Error-Type": reason}
        return self._call("POST", path, headers)[0]


def trap():
    # Tells of SIGTERM from a thread: the main one is deep in the runtime client and would not hear it.
    def wait():
        signal.sigwait({signal.SIGTERM})
        Desk("trap").tell("SIGTERM")
        os._exit(0)

    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    threading.Thread(target=wait, daemon=True).start()


def first_time():
    # Whether this is the first call since the sandbox began: /tmp outlives the processes.
    try:
        os.close(os.open("/tmp/again", os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True
"""

NODE_PARTY = """
const http = require("node:http");
const net = require("node:net");

class Desk {
  constructor(who) {
    const [host, port] = process.env.DESK.split(":");
    this.who = who;
    this.waiting = [];
    this.lines = net.connect(Number(port), host).setNoDelay();
    this.lines.on("data", (data) => { for (const _ of String(data).matchAll(/\\n/g)) this.waiting.shift()(); });
  }

  // Resolves when the test lets us go on.
  tell(what, facts = {}) {
    this.lines.write(JSON.stringify({ who: this.who, what, facts }) + "\\n");
    return new Promise((done) => this.waiting.push(done));
  }
}

class Extension {
  constructor(name) {
    this.name = name;
    this.identifier = {};
    this.agent = new http.Agent({ keepAlive: true });
  }

  async call(method, path, headers, body) {
    const url = `http://${process.env.AWS_LAMBDA_RUNTIME_API}/2020-01-01/extension${path}`;
    const answer = await new Promise((done, failed) => {
      http.request(url, { method, headers, agent: this.agent }, done).on("error", failed).end(body);
    });
    let text = "";
    for await (const piece of answer) text += piece;
    return { status: answer.statusCode, headers: answer.headers, document: JSON.parse(text) };
  }

  // Status and document.
  async register(...events) {
    const headers = { "Lambda-Extension-Name": this.name, "Lambda-Extension-Accept-Feature": "accountId" };
    const answer = await this.call("POST", "/register", headers, JSON.stringify({ events }));
    this.identifier = { "Lambda-Extension-Identifier": answer.headers["lambda-extension-identifier"] };
    return [answer.status, answer.document];
  }

  async next() {
    return (await this.call("GET", "/event/next", this.identifier)).document;
  }
}

module.exports = { Desk, Extension };
"""
"""The same for Node.js."""

Facts = Mapping[str, Any]


class _Counter(socketserver.ThreadingTCPServer):
    daemon_threads = True
    desk: "Desk"


class _Talk(socketserver.StreamRequestHandler):
    """One process's connection."""

    server: _Counter

    def handle(self) -> None:
        who = "nobody"
        try:
            for line in self.rfile:
                note = json.loads(line)
                who = note["who"]
                self.server.desk._heard(who, note["what"], note["facts"])
                self.wfile.write(b"go on\n")
        except ConnectionError:
            pass  # killed in mid-word
        self.server.desk._heard(who, "gone", {})


class Desk:
    """The test's side. Notes are kept in the order of their arrival."""

    def __init__(self, host: str) -> None:
        self._changed = threading.Condition()
        self._notes: list[tuple[str, str, Facts]] = []
        self._held: set[str] = set()
        self._counter = _Counter((host, 0), _Talk)
        self._counter.desk = self
        self._thread = threading.Thread(target=self._counter.serve_forever)
        self.address = f"{host}:{self._counter.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, _: type[BaseException] | None, __: object, ___: TracebackType | None) -> None:
        self.release(*self._held)
        self._counter.shutdown()
        self._counter.server_close()
        self._thread.join()

    def hold(self, *whats: str) -> None:
        """Let nobody go on who tells one of these, until it is released."""
        with self._changed:
            self._held.update(whats)

    def release(self, *whats: str) -> None:
        with self._changed:
            self._held.difference_update(whats)
            self._changed.notify_all()

    def hear(self, who: str, what: str, nth: int = 1) -> Facts:
        """Wait until somebody has told something for the nth time; the facts of it."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._told(who, what)) >= nth, PATIENCE)
            told = self._told(who, what)
            assert len(told) >= nth, f"{who} did not tell {what}: {self.order}"
            return told[nth - 1]

    @property
    def order(self) -> list[str]:
        """All that has been told by now."""
        with self._changed:
            return [f"{who} {what}" for who, what, _ in self._notes]

    def _told(self, who: str, what: str) -> list[Facts]:
        return [facts for *heading, facts in self._notes if heading == [who, what]]

    def _heard(self, who: str, what: str, facts: Facts) -> None:
        with self._changed:
            self._notes.append((who, what, facts))
            self._changed.notify_all()
            self._changed.wait_for(lambda: what not in self._held)
