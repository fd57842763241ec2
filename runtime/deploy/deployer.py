"""A whole deployment: packages first, then resource by resource, then what is left of earlier ones.

The first failure ends it, and what was done until then is taken back; where that is not wanted, or nobody answers any
more, it stays, and the next run goes on from there, because every step looks at what is there.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Protocol

from runtime.deploy.archives import package
from runtime.deploy.attributes import attributes
from runtime.deploy.errors import TemplateError
from runtime.deploy.journal import Journal
from runtime.deploy.live import LiveFolders
from runtime.deploy.packages import Package, imaged
from runtime.deploy.plan import Plan
from runtime.deploy.report import CREATED, UNCHANGED, UPDATED, Outcome, Report
from runtime.deploy.service import Service, ServiceError, Unreachable
from runtime.deploy.setting_steps import SettingSteps
from runtime.deploy.settings import STACK_TAG
from runtime.deploy.steps import Steps
from runtime.deploy.wanted import (
    AliasWanted,
    Build,
    FunctionWanted,
    LayerWanted,
    Source,
    VersionWanted,
    Wanted,
)


class Builder(Protocol):
    """Builds container images."""

    def build(self, wanted: Build, folder: Path) -> str:
        """The URI of the image, which no other image ever has. Raises TemplateError."""
        ...

    def tidy(self) -> None:
        """Everything is deployed: forget the images before those that were built."""
        ...


class Deployment:
    """One run of one plan. `folder` is the template's, `tell` hears what is being done.

    `live` are the folders that Berth may run as they are; none: everything is packaged.
    """

    def __init__(
        self,
        service: Service,
        plan: Plan,
        folder: Path,
        builder: Builder,
        *,
        dry_run: bool,
        tell: Callable[[str], None],
        live: LiveFolders | None = None,
    ) -> None:
        self._service, self._plan, self._folder, self._builder = service, plan, folder, builder
        self._tell, self._dry_run, self._live = tell, dry_run, live
        self._report = Report(plan.stack.name, dry_run, warnings=list(plan.warnings))
        self._packages: dict[Source, Package] = {}
        self._known: dict[str, dict[str, str]] = {}
        self._wanted: dict[str, Wanted] = {}
        self._journal = Journal(self._progress, tell)
        self._outcomes: dict[str, Outcome] = {}
        warn = self._report.warnings.append
        self._beside = SettingSteps(service, plan.stack.name, dry_run, self._progress, tell, self._journal)
        self._steps = Steps(service, dry_run, self._progress, warn, self._journal, self._beside)

    def run(self, *, prune: bool, roll_back: bool = True) -> Report:
        for source in self._plan.sources:
            self._package(source)
        try:
            for logical_id in self._plan.order:
                self._journal.at = logical_id
                with _placed(logical_id):
                    self._resource(logical_id)
            self._tidy_settings()
        except TemplateError:
            if roll_back:
                self._journal.roll_back()
            raise
        except Unreachable:
            self._journal.give_up()
            raise
        self._tell_outcomes()
        self._journal.at = self._plan.stack.name
        for name, delete in list(self._left()):
            if prune:
                self._progress(f"deleting {name}")
                if not self._dry_run:
                    delete()
            self._report.left.append({"name": name, "deleted": prune})
        self._report.outputs = self._plan.outputs(self._known)
        try:
            self._builder.tidy()
        except TemplateError as error:
            self._report.warnings.append(f"images of earlier deployments stay: {error}")
        return self._report

    def _progress(self, text: str) -> None:
        if not self._dry_run:
            self._tell(f"{self._journal.at}: {text}")

    def _resource(self, logical_id: str) -> None:
        wanted = self._plan.wanted(logical_id, self._known)
        outcome = self._apply(wanted)
        known = attributes(self._plan.stack, wanted, outcome.number) | dict(outcome.attributes)
        self._wanted[logical_id], self._known[logical_id] = wanted, known
        self._outcomes[logical_id] = outcome

    def _tidy_settings(self) -> None:
        """Take off the stack's functions and layers what the template no longer says of them."""
        functions = {
            each.name: logical_id
            for logical_id, each in self._wanted.items()
            if isinstance(each, FunctionWanted)
        }
        for logical_id, wanted in self._wanted.items():
            self._journal.at = logical_id
            with _placed(logical_id):
                if self._dry_run and self._outcomes[logical_id].action == CREATED:
                    continue  # nothing is there that could have anything
                if isinstance(wanted, FunctionWanted):
                    changes = [*self._beside.left(wanted.name), *self._left_statements(wanted.name)]
                elif isinstance(wanted, LayerWanted):
                    number = self._outcomes[logical_id].number
                    changes = list(self._beside.left_statements(wanted.name, number, of_layer=True))
                else:
                    continue
                self._amend(logical_id, changes)
        self._journal.at = self._plan.stack.name
        with _placed():
            for function in self._beside.left_mappings({*functions}):
                self._amend(functions[function], ["EventSourceMapping"])

    def _left_statements(self, function: str) -> Iterator[str]:
        for qualifier in ("", *self._steps.aliases(function)):
            yield from self._beside.left_statements(function, qualifier, of_layer=False)

    def _amend(self, logical_id: str, changes: list[str]) -> None:
        outcome = self._outcomes[logical_id]
        if changes:
            action = UPDATED if outcome.action == UNCHANGED else outcome.action
            changed = (*outcome.changes, *changes)
            self._outcomes[logical_id] = replace(outcome, action=action, changes=changed)

    def _tell_outcomes(self) -> None:
        for logical_id, outcome in self._outcomes.items():
            known = self._known[logical_id]
            arn = known["Arn"] if isinstance(self._wanted[logical_id], FunctionWanted) else known["Ref"]
            self._report.add(logical_id, self._plan.kind(logical_id), arn, outcome)

    def _apply(self, wanted: Wanted) -> Outcome:
        match wanted:
            case FunctionWanted():
                return self._steps.function(wanted, self._code(wanted))
            case LayerWanted():
                return self._steps.layer(wanted, self._packaged(wanted.source))
            case VersionWanted():
                return self._steps.version(wanted)
            case AliasWanted():
                return self._steps.alias(wanted)
            case _:
                return self._beside.resource(wanted)

    def _code(self, wanted: FunctionWanted) -> Package:
        """The folder itself where it may be, but of a function whose alias is to follow every change."""
        path = None if wanted.source.build or wanted.alias else wanted.source.path
        if self._live is not None and path is not None:
            found = self._live.package(self._folder / path)
            if found is not None:
                return found
        return self._packaged(wanted.source)

    def _packaged(self, source: Source) -> Package:
        if self._live is not None and source.path is not None:
            self._live.packaged.add(self._folder / source.path)
        return self._package(source)

    def _package(self, source: Source) -> Package:
        """Made once for all that share a source."""
        key = replace(source, where=())
        if key not in self._packages:
            try:
                self._packages[key] = self._made(source)
            except TemplateError as error:
                raise TemplateError(error.text, source.where) from None
        return self._packages[key]

    def _made(self, source: Source) -> Package:
        if (build := source.build) is None:
            return package(source, self._folder)
        if self._dry_run:
            return imaged(f"{build.repository}:{build.tag}", unbuilt=True)
        self._tell(f"building the image {build.repository}:{build.tag}")
        return imaged(self._builder.build(build, self._folder))

    def _left(self) -> Iterator[tuple[str, Callable[[], object]]]:
        """What the stack has beside what its template says, and how each is deleted."""
        functions = {each.name for each in self._wanted.values() if isinstance(each, FunctionWanted)}
        for told in self._service.listed("list_functions", "Functions"):
            name = told["FunctionName"]
            if name in functions:
                yield from self._left_aliases(name)
            elif self._is_ours(name):
                yield name, partial(self._service.call, "delete_function", FunctionName=name)

    def _is_ours(self, name: str) -> bool:
        found = self._service.find("get_function", FunctionName=name) or {}
        return bool(found.get("Tags", {}).get(STACK_TAG) == self._plan.stack.name)

    def _left_aliases(self, function: str) -> Iterator[tuple[str, Callable[[], object]]]:
        for told in self._service.listed("list_aliases", "Aliases", FunctionName=function):
            name = told["Name"]
            if not any(_makes_alias(each, function, name) for each in self._wanted.values()):
                delete = partial(self._service.call, "delete_alias", FunctionName=function, Name=name)
                yield f"{function}:{name}", delete


@contextmanager
def _placed(logical_id: str | None = None) -> Iterator[None]:
    """Says of which resource an error is, where it is one's."""
    path = ("Resources", logical_id) if logical_id else ()
    try:
        yield
    except ServiceError as error:
        raise TemplateError(str(error), path) from None
    except TemplateError as error:
        raise TemplateError(error.text, error.path or path) from None


def _makes_alias(wanted: Wanted, function: str, name: str) -> bool:
    match wanted:
        case FunctionWanted():
            return wanted.name == function and wanted.alias == name
        case AliasWanted():
            return (wanted.function, wanted.name) == (function, name)
        case _:
            return False
