"""The same functions in each language whose real runtime client tests run, and where they can run.

What a function does is asked for by its event; what its static code does, by a name.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest


@dataclass(frozen=True)
class Language:
    """A managed runtime, and functions for it. The handler is always `app.handler`."""

    runtime: str
    file: str
    handler: str
    """Does what its event asks for."""
    idle: str
    """A function whose handler does nothing."""
    static: Mapping[str, str] = field(repr=False, compare=False)
    """Code that does something as it is loaded."""

    def __str__(self) -> str:
        return self.runtime

    def deploy(self, berth: Any, zip_of: Any, name: str, code: str, **options: Any) -> None:
        """Create a function of one file."""
        berth.deploy(name, zip_of({self.file: code}), Runtime=self.runtime, **options)


PYTHON = Language(
    runtime="python3.11",
    file="app.py",
    handler="""
import json, os, signal, sys, time

runs = 0

def handler(event, context):
    global runs
    runs += 1
    print("run", runs)
    match event.get("do"):
        case "raise":
            raise ValueError("boom")
        case "exit":
            os._exit(event["code"])
        case "kill":
            os.kill(os.getpid(), event["signal"])
        case "sleep":
            time.sleep(event["seconds"])
        case "grow":
            return "x" * event["bytes"]
        case "take":
            return len(bytearray(event["mb"] << 20))
        case "write":
            open("/tmp/kept", "w").write("kept")
            os._exit(1)
        case "read":
            return open("/tmp/kept").read()
        case "unserialisable":
            return object()
        case "nothing":
            return None
    return {"runs": runs, "arn": context.invoked_function_arn, "version": context.function_version}
""",
    idle="def handler(event, context): pass",
    static={
        "raises": "raise ValueError('boom')",
        "exits 0": "import sys; sys.exit(0)",
        "exits 3": "import sys; sys.exit(3)",
        "is killed": "import os; os.kill(os.getpid(), 9)",
        "segfaults": "import os; os.kill(os.getpid(), 11)",
        "never ends": "import time; time.sleep(3600)",
        "is malformed": "def handler(:",
        "misses a module": "import nosuchmodule",
    },
)

NODE = Language(
    runtime="nodejs22.x",
    file="app.js",
    handler="""
const fs = require("node:fs");

let runs = 0;

exports.handler = async (event, context) => {
  runs += 1;
  process.stdout.write(`run ${runs}\\n`);
  switch (event.do) {
    case "raise":
      throw new RangeError("boom");
    case "exit":
      process.exit(event.code);
    case "kill":
      process.kill(process.pid, event.signal);
      return new Promise(() => setInterval(() => {}, 1000));
    case "sleep":
      return new Promise((done) => setTimeout(done, event.seconds * 1000));
    case "grow":
      return "x".repeat(event.bytes);
    case "take":
      return Buffer.alloc(event.mb << 20, 1).length;
    case "write":
      fs.writeFileSync("/tmp/kept", "kept");
      process.exit(1);
    case "read":
      return fs.readFileSync("/tmp/kept", "utf8");
    case "unserialisable":
      return 1n;
    case "nothing":
      return undefined;
  }
  return { runs, arn: context.invokedFunctionArn, version: context.functionVersion };
};
""",
    idle="exports.handler = async () => {};",
    static={
        "raises": "throw new RangeError('boom');",
        "exits 0": "process.exit(0);",
        "exits 3": "process.exit(3);",
        "is killed": "process.kill(process.pid, 'SIGKILL');",
        "segfaults": "process.kill(process.pid, 'SIGSEGV');",
        "never ends": "Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);",
        "is malformed": "exports.handler = {{",
        "misses a module": "require('nosuchmodule');",
    },
)


@dataclass(frozen=True)
class Place:
    """A kind of sandbox, and what runs in it."""

    spawner: str
    language: Language


PLACES = [
    pytest.param(Place("docker", PYTHON), marks=pytest.mark.docker, id="docker-python"),
    pytest.param(Place("docker", NODE), marks=pytest.mark.docker, id="docker-node"),
    pytest.param(Place("process", PYTHON), id="process-python"),
]
everywhere = pytest.mark.parametrize("berth", PLACES, indirect=True, scope="module")
"""For tests of what every runtime does, on every spawner that can run it; the fixture `language` says which it is."""
in_containers = pytest.mark.parametrize("berth", PLACES[:1], indirect=True, scope="module")
