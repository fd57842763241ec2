"""`berth deploy`: a SAM or CloudFormation template becomes functions, layers, versions and aliases of a running Berth.

What a template means and how it gets there is `runtime.deploy`'s matter. Here are the command's words: which stack,
which Berth, what is told while it goes on and afterwards, and the watch over the files.
"""

import argparse
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from runtime.cli.client import Client, connect
from runtime.cli.terminal import CliError, note, say, say_json, table
from runtime.deploy.deployer import Deployment
from runtime.deploy.documents import Section, line_of, parse
from runtime.deploy.errors import TemplateError
from runtime.deploy.globals import written_at
from runtime.deploy.image_builder import ImageBuilder
from runtime.deploy.live import LiveFolders
from runtime.deploy.plan import Plan, make_plan
from runtime.deploy.report import Report
from runtime.deploy.service import Service, ServiceError, Unreachable
from runtime.deploy.template import Stack
from runtime.deploy.watching import Sight, look, next_change
from runtime.neighbours import is_loopback
from runtime.readable import readable
from runtime.settings import flags_of, load

_STACK = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,127}")
_SHOWN_CHANGES = 5
_WOULD = {"created": "would be created", "updated": "would be updated", "published": "would be published"}


def run(arguments: argparse.Namespace, pause: Callable[[float], None] = time.sleep) -> int:
    command = _Command(arguments)
    if arguments.watch:
        command.watch(pause)
    else:
        command.deploy()
    return 0


class _Command:
    """One command line."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        settings = load(flags_of(arguments)).settings
        self._template = Path(arguments.template)
        self._docker_host = settings.docker_host
        self._stack = Stack(
            arguments.stack or _stack_of(self._template), settings.account_id, settings.region
        )
        if not _STACK.fullmatch(self._stack.name):
            raise CliError(
                f"{self._stack.name!r} is not the name of a stack: letters, digits and dashes; see --stack"
            )
        self._parameters = _parameters(arguments.parameter or ())
        self._arguments = arguments
        self._watched: tuple[Path, ...] = (self._template,)
        self._document = Section()
        self._seen: Sight = {}
        """How the watched files were before they were read."""
        self._advice: str | None = None
        """As given last."""

    def deploy(self) -> None:
        """Once, from the template to the report."""
        plan = self._plan()
        client = connect(self._arguments)
        url, live = client.url, self._live_folders(client)
        deployment = Deployment(
            Service(url, self._stack.account, self._stack.region),
            plan,
            self._template.parent,
            ImageBuilder(self._docker_host),
            dry_run=self._arguments.dry_run,
            tell=lambda text: note(readable(text)),
            live=live,
        )
        with self._explained(url):
            self._show(deployment.run(prune=self._arguments.prune, roll_back=self._arguments.roll_back))
        if live is not None:
            self._leave_to_berth(live)

    def _live_folders(self, client: Client) -> LiveFolders | None:
        """While somebody works on them, folders are run as they are, by a Berth on this machine that may."""
        wanted = self._arguments.watch and self._arguments.hot_reload
        if not wanted or not is_loopback(urlsplit(client.url).hostname or ""):
            return None
        return LiveFolders(client.get_json("/_berth/settings"))

    def _leave_to_berth(self, live: LiveFolders) -> None:
        """What is run as it is need not be watched here, unless something else is made of it too."""
        advice = live.advice()
        if advice is not None and advice != self._advice:
            note(advice)
        self._advice = advice
        left = live.given - live.packaged
        self._watched = tuple(each for each in self._watched if each not in left)
        self._seen = {
            path: status
            for path, status in self._seen.items()
            if any(path == each or path.is_relative_to(each) for each in self._watched)
        }

    def watch(self, pause: Callable[[float], None]) -> None:
        """Again and again, whenever template or code changes; until interrupted."""
        while True:
            try:
                self.deploy()
            except CliError as error:
                note(f"berth: {error}")
            note(f"watching {self._template} and what it deploys; Ctrl-C ends")
            changed = next_change(self._watched, self._seen, pause)
            shown = [readable(self._short(path)) for path in changed[:_SHOWN_CHANGES]]
            more = [f"{len(changed) - _SHOWN_CHANGES} more"] if len(changed) > _SHOWN_CHANGES else []
            note(f"changed: {', '.join(shown + more)}")

    def _plan(self) -> Plan:
        before = self._seen = look(self._watched)
        try:
            text = self._template.read_text(encoding="utf-8")
        except OSError as error:
            raise CliError(f"cannot read {self._template}: {error.strerror}") from None
        except UnicodeDecodeError:
            raise CliError(f"{self._template} is not text in UTF-8") from None
        with self._explained(""):
            self._document = parse(text)
            plan = make_plan(self._document, self._stack, self._parameters)
        folders = [self._template.parent / each.path for each in plan.sources if each.path]
        self._watched, self._seen = (
            (self._template, *folders),
            {**look(folders), self._template: before[self._template]},
        )
        return plan

    @contextmanager
    def _explained(self, url: str) -> Iterator[None]:
        """Errors as one line that begins with the place in the template."""
        try:
            yield
        except TemplateError as error:
            line = error.line or line_of(self._document, written_at(self._document, error.path))
            place = f"{self._template}:{line}" if line else str(self._template)
            raise CliError(readable(f"{place}: {error}")) from None
        except ServiceError as error:
            raise CliError(readable(str(error))) from None
        except Unreachable as error:
            raise CliError(f"cannot reach Berth at {url}: {error}") from None

    def _show(self, report: Report) -> None:
        for warning in report.warnings:
            note(f"warning: {readable(warning)}")
        if self._arguments.json:
            say_json(report.document())
        else:
            _say(report)
        sys.stdout.flush()

    def _short(self, path: Path) -> str:
        folder = self._template.parent
        return str(path.relative_to(folder) if path.is_relative_to(folder) else path)


def _stack_of(template: Path) -> str:
    """The name of the template's folder, as far as it makes one."""
    words = re.findall(r"[A-Za-z0-9]+", template.absolute().parent.name)
    return "-".join(words)


def _parameters(pairs: Sequence[str]) -> dict[str, str]:
    """`K=V` each; the last one counts."""
    given: dict[str, str] = {}
    for pair in pairs:
        name, is_pair, value = pair.partition("=")
        if not is_pair or not name:
            raise CliError(f"--parameter: {pair!r} is not NAME=VALUE")
        given[name] = value
    return given


def _say(report: Report) -> None:
    rows = [
        (
            each["logical_id"],
            (_WOULD[each["action"]] if report.dry_run and each["action"] in _WOULD else each["action"])
            + (f" ({', '.join(each['changes'])})" if each["changes"] else ""),
            each["name"],
        )
        for each in report.resources
    ]
    say(readable(table(("RESOURCE", "RESULT", "NAME"), rows)))
    if report.outputs:
        say()
        outputs = [(name, value) for name, value in report.outputs.items()]
        say(readable(table(("OUTPUT", "VALUE"), outputs)))
    gone = [each["name"] for each in report.left if each["deleted"]]
    stays = [each["name"] for each in report.left if not each["deleted"]]
    if gone:
        say(readable(f"\n{'would be deleted' if report.dry_run else 'deleted'}: {', '.join(gone)}"))
    if stays:
        say(readable(f"\nnot in the template (--prune deletes): {', '.join(stays)}"))
