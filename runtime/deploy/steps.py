"""One resource at a time: looks what is there, and does what is missing. In a dry run it only says what that would be."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from runtime.deploy.differences import (
    alias_differs,
    changed_members,
    code_differs,
    create_members,
    fixed_difference,
    former_members,
    same_function,
)
from runtime.deploy.errors import TemplateError
from runtime.deploy.journal import Journal
from runtime.deploy.packages import Package, live_members
from runtime.deploy.report import CREATED, PUBLISHED, UNCHANGED, UPDATED, Outcome
from runtime.deploy.service import Service, ServiceError, failure
from runtime.deploy.setting_steps import SettingSteps
from runtime.deploy.settings import LATEST, SIGNING, STACK_TAG, Setting, numbered
from runtime.deploy.wanted import AliasWanted, FunctionWanted, LayerWanted, VersionWanted

_OWN_DESCRIPTION = frozenset({"Description"})
_NO_WEIGHTS: dict[str, Any] = {"AdditionalVersionWeights": {}}


@dataclass(frozen=True, slots=True)
class Steps:
    """The steps of one deployment. `tell` hears what is being done, `warn` what could not be, and the journal how what
    was done is taken back.
    """

    service: Service
    dry_run: bool
    tell: Callable[[str], None]
    warn: Callable[[str], None]
    journal: Journal
    beside: SettingSteps
    """For what is configured beside them."""
    _touched: set[str] = field(default_factory=set)
    """Functions that a dry run would have changed."""

    def layer(self, wanted: LayerWanted, package: Package) -> Outcome:
        """A new version, unless the newest holds the same. What is in S3 shows only when Berth has taken it."""
        listed = self.service.call("list_layer_versions", LayerName=wanted.name, MaxItems=1)["LayerVersions"]
        newest = listed[0]["Version"] if listed else 0
        alike = self._content_of(wanted, newest) if listed else None
        if alike is not None and alike == package.sha256:
            return Outcome(wanted.name, UNCHANGED, str(newest))
        self.tell(f"publishing layer {wanted.name}")
        if self.dry_run:
            return Outcome(wanted.name, PUBLISHED, str(newest + 1))
        details = {name: value for name, value in wanted.details.items() if value}
        made = self.service.call(
            "publish_layer_version", LayerName=wanted.name, Content=dict(package.members), **details
        )
        number = made["Version"]
        if alike == made["Content"]["CodeSha256"]:
            self.tell(f"version {newest} of layer {wanted.name} holds the same: it stays the newest")
            self._delete_layer(wanted.name, number)
            return Outcome(wanted.name, UNCHANGED, str(newest))
        self.journal.done(
            f"deleting version {number} of layer {wanted.name}",
            partial(self._delete_layer, wanted.name, number),
        )
        return Outcome(wanted.name, PUBLISHED, str(number))

    def _content_of(self, wanted: LayerWanted, number: int) -> str | None:
        """What a version of the layer holds, if its details are as wanted."""
        told = self.service.call("get_layer_version", LayerName=wanted.name, VersionNumber=number)
        same = all((told.get(name) or type(value)()) == value for name, value in wanted.details.items())
        return told["Content"]["CodeSha256"] if same else None

    def _delete_layer(self, name: str, number: int) -> None:
        self.service.call("delete_layer_version", LayerName=name, VersionNumber=number)

    def function(self, wanted: FunctionWanted, package: Package) -> Outcome:
        """The function itself, and the version and alias that follow it."""
        found = self.service.find("get_function", FunctionName=wanted.name)
        outcome = self._create(wanted, package) if found is None else self._update(wanted, package, found)
        if self.dry_run and outcome.action != UNCHANGED and outcome.changes != ("Tags",):
            self._touched.add(wanted.name)
        if wanted.alias is not None:
            outcome = self._publish(wanted, wanted.alias, outcome)
        return self._set(outcome, wanted.settings)

    def _set(self, outcome: Outcome, settings: tuple[Setting, ...]) -> Outcome:
        """What was configured beside what has become of a resource."""
        changes = self.beside.settings(settings)
        action = UPDATED if changes and outcome.action == UNCHANGED else outcome.action
        attributes = self.beside.attributes(settings)
        return replace(outcome, action=action, changes=(*outcome.changes, *changes), attributes=attributes)

    def _create(self, wanted: FunctionWanted, package: Package) -> Outcome:
        self.tell(f"creating function {wanted.name}")
        if not self.dry_run:
            self.service.call(
                "create_function",
                FunctionName=wanted.name,
                Code=dict(package.members),
                Tags=wanted.tags,
                **create_members(wanted),
                **_signing(wanted),
            )
            self.journal.done(
                f"deleting function {wanted.name}",
                partial(self.service.call, "delete_function", FunctionName=wanted.name),
            )
            self._settle(wanted.name)
        return Outcome(wanted.name, CREATED)

    def _settle(self, function: str, qualifier: str | None = None) -> None:
        """Wait until a function, or a version, is as it was told to be."""
        if reason := failure(self.service.settled(function, qualifier)):
            raise TemplateError(f"{function} cannot run: {reason}")

    def _update(self, wanted: FunctionWanted, package: Package, found: Mapping[str, Any]) -> Outcome:
        self._check_owner(wanted, found)
        told = found["Configuration"]
        if (name := fixed_difference(wanted, told)) is not None:
            raise TemplateError(
                f"{name} of {wanted.name} cannot be changed: delete it, or give it another name"
            )
        if not self.dry_run or package.sha256 is None:
            told = self.service.settled(wanted.name)
        changes: list[str] = []
        if self._code_differs(wanted, package, found, told) or failure(told):
            changes.append("Code")
            self.tell(f"updating the code of {wanted.name}")
            if not self.dry_run:
                self._update_code(wanted, package, found)
        if members := changed_members(wanted, told):
            changes += members
            self.tell(f"updating the configuration of {wanted.name}: {', '.join(members)}")
            if not self.dry_run:
                self._update_configuration(wanted, members, told)
        if self._tag(wanted, found):
            changes.append("Tags")
        return Outcome(wanted.name, UPDATED if changes else UNCHANGED, changes=tuple(changes))

    def _code_differs(
        self, wanted: FunctionWanted, package: Package, found: Mapping[str, Any], told: Mapping[str, Any]
    ) -> bool:
        if package.is_unbuilt:
            return True
        runs = live_members(found["Code"])
        if package.directory is not None:  # what is in it is known to Berth as soon as to us
            return runs != package.members or code_differs(wanted, told["CodeSha256"], told)
        return runs is not None or code_differs(wanted, self._sha256(wanted, package), told)

    def _sha256(self, wanted: FunctionWanted, package: Package) -> str | None:
        """Of the package; Berth looks at one in S3, or at an image, to say it."""
        if package.sha256 is not None:
            return package.sha256
        told = self.service.call(
            "update_function_code",
            FunctionName=wanted.name,
            DryRun=True,
            Architectures=wanted.configuration["Architectures"],
            **package.members,
        )
        return str(told["CodeSha256"])

    def _update_code(self, wanted: FunctionWanted, package: Package, found: Mapping[str, Any]) -> None:
        self.service.call(
            "update_function_code",
            FunctionName=wanted.name,
            Architectures=wanted.configuration["Architectures"],
            **package.members,
        )
        self.journal.done(f"putting back the code of {wanted.name}", partial(self._put_back_code, found))
        self._settle(wanted.name)

    def _put_back_code(self, found: Mapping[str, Any]) -> None:
        """What the function had: its directory, its image by its digest, or its package by the link given then."""
        told, code = found["Configuration"], found["Code"]
        self.service.settled(told["FunctionName"])
        before = live_members(code)
        if before is None:
            uri = code.get("ResolvedImageUri")
            before = {"ImageUri": uri} if uri else {"ZipFile": self.service.download(code["Location"])}
        self.service.call(
            "update_function_code",
            FunctionName=told["FunctionName"],
            Architectures=told["Architectures"],
            **before,
        )
        self._settle(told["FunctionName"])

    def _update_configuration(
        self, wanted: FunctionWanted, members: Mapping[str, Any], told: Mapping[str, Any]
    ) -> None:
        self.service.call("update_function_configuration", FunctionName=wanted.name, **members)
        before = former_members(members, told)
        self.journal.done(
            f"putting back the configuration of {wanted.name}: {', '.join(before)}",
            partial(self._put_back_configuration, wanted.name, before),
        )
        self._settle(wanted.name)

    def _put_back_configuration(self, function: str, members: Mapping[str, Any]) -> None:
        self.service.settled(function)
        self.service.call("update_function_configuration", FunctionName=function, **members)
        self._settle(function)

    def _check_owner(self, wanted: FunctionWanted, found: Mapping[str, Any]) -> None:
        owner = found.get("Tags", {}).get(STACK_TAG)
        if owner not in (None, wanted.tags[STACK_TAG]):
            raise TemplateError(f"the function {wanted.name} belongs to the stack {owner}")

    def _tag(self, wanted: FunctionWanted, found: Mapping[str, Any]) -> bool:
        """Add and change tags; those of others stay."""
        told = found.get("Tags", {})
        new = {name: value for name, value in wanted.tags.items() if told.get(name) != value}
        if not new:
            return False
        self.tell(f"tagging {wanted.name}")
        if not self.dry_run:
            arn = found["Configuration"]["FunctionArn"]
            try:
                self.service.call("tag_resource", Resource=arn, Tags=new)
            except ServiceError as error:
                self.warn(f"the tags of {wanted.name} stay as they are: {error}")
                return False
            self.journal.done(f"putting back the tags of {wanted.name}", partial(self._untag, arn, new, told))
        return True

    def _untag(self, arn: str, new: Mapping[str, str], before: Mapping[str, str]) -> None:
        added = [name for name in new if name not in before]
        if added:
            self.service.call("untag_resource", Resource=arn, TagKeys=added)
        if changed := {name: before[name] for name in new if name in before}:
            self.service.call("tag_resource", Resource=arn, Tags=changed)

    def _publish(self, wanted: FunctionWanted, alias: str, outcome: Outcome) -> Outcome:
        """Let the alias lead to a version that is what the function is now."""
        told = self.service.find("get_alias", FunctionName=wanted.name, Name=alias)
        if told is not None and wanted.name not in self._touched and self._is_current(wanted.name, told):
            return Outcome(outcome.name, outcome.action, told["FunctionVersion"], outcome.changes)
        number = self._new_version(wanted.name, {})
        if told is not None and (told["FunctionVersion"], told.get("RoutingConfig")) == (number, None):
            # What differs is no more than a description that the version got when it was published.
            return Outcome(outcome.name, outcome.action, number, outcome.changes)
        self._point(AliasWanted(wanted.name, alias, number, (told or {}).get("Description", ""), {}), told)
        action = outcome.action if outcome.action == CREATED else UPDATED
        return Outcome(outcome.name, action, number, (*outcome.changes, f"{alias} -> {number}"))

    def _is_current(self, function: str, alias: Mapping[str, Any]) -> bool:
        """Whether an alias leads to what `$LATEST` is, and there alone."""
        number = alias["FunctionVersion"]
        if number == LATEST or alias.get("RoutingConfig", {}).get("AdditionalVersionWeights"):
            return False
        latest = self.service.call("get_function_configuration", FunctionName=function)
        version = self.service.call("get_function_configuration", FunctionName=function, Qualifier=number)
        return failure(version) is None and same_function(latest, version, but=frozenset())

    def _new_version(self, function: str, members: Mapping[str, Any]) -> str:
        self.tell(f"publishing a version of {function}")
        if self.dry_run:
            return str(max(map(int, self._versions(function)), default=0) + 1)
        before = self._versions(function)
        made = self.service.call("publish_version", FunctionName=function, **members)
        number = str(made["Version"])
        if number not in before:  # where nothing has changed, it is one that was there
            self.journal.done(
                f"deleting version {number} of {function}",
                partial(self.service.call, "delete_function", FunctionName=function, Qualifier=number),
            )
        self._settle(function, number)
        return number

    def _versions(self, function: str) -> dict[str, Mapping[str, Any]]:
        """Published versions by number, oldest first; none if there is no function yet."""
        if self.dry_run and self.service.find("get_function", FunctionName=function) is None:
            return {}
        listed = self.service.listed("list_versions_by_function", "Versions", FunctionName=function)
        return {each["Version"]: each for each in listed if each["Version"] != LATEST}

    def version(self, wanted: VersionWanted) -> Outcome:
        """Published once, and then found again; nothing is published that has a number already."""
        versions = self._versions(wanted.function)
        for number, each in versions.items():
            if each.get("Description", "").endswith(wanted.mark):
                return self._numbered(wanted, UNCHANGED, number)
        if versions and wanted.function not in self._touched:
            number = max(versions, key=int)
            latest = self.service.call("get_function_configuration", FunctionName=wanted.function)
            newest = self.service.call(
                "get_function_configuration", FunctionName=wanted.function, Qualifier=number
            )
            if failure(newest) is None and same_function(latest, newest, but=_OWN_DESCRIPTION):
                return self._numbered(wanted, UNCHANGED, number)
        number = self._new_version(wanted.function, {"Description": wanted.description})
        return self._numbered(wanted, PUBLISHED, number)

    def _numbered(self, wanted: VersionWanted, action: str, number: str) -> Outcome:
        outcome = Outcome(f"{wanted.function}:{number}", action, number)
        return self._set(outcome, numbered(wanted.settings, number))

    def alias(self, wanted: AliasWanted) -> Outcome:
        told = self.service.find("get_alias", FunctionName=wanted.function, Name=wanted.name)
        name = f"{wanted.function}:{wanted.name}"
        if told is not None and not alias_differs(wanted, told):
            return self._set(Outcome(name, UNCHANGED), wanted.settings)
        self._point(wanted, told)
        return self._set(Outcome(name, CREATED if told is None else UPDATED), wanted.settings)

    def aliases(self, function: str) -> list[str]:
        """Of a function."""
        listed = self.service.listed("list_aliases", "Aliases", FunctionName=function)
        return [each["Name"] for each in listed]

    def _point(self, wanted: AliasWanted, told: Mapping[str, Any] | None) -> None:
        """Make or move an alias."""
        if told is not None and not alias_differs(wanted, told):
            return
        self.tell(f"pointing {wanted.function}:{wanted.name} to version {wanted.version}")
        if self.dry_run:
            return
        routing = {"AdditionalVersionWeights": wanted.weights} if wanted.weights else _NO_WEIGHTS
        self.service.call(
            "create_alias" if told is None else "update_alias",
            FunctionName=wanted.function,
            Name=wanted.name,
            FunctionVersion=wanted.version,
            Description=wanted.description,
            RoutingConfig=routing,
        )
        name = f"{wanted.function}:{wanted.name}"
        if told is None:
            self.journal.done(f"deleting alias {name}", partial(self._delete_alias, wanted))
        else:
            self.journal.done(
                f"pointing {name} to version {told['FunctionVersion']} again",
                partial(self._put_back_alias, wanted, told),
            )

    def _delete_alias(self, wanted: AliasWanted) -> None:
        self.service.call("delete_alias", FunctionName=wanted.function, Name=wanted.name)

    def _put_back_alias(self, wanted: AliasWanted, told: Mapping[str, Any]) -> None:
        self.service.call(
            "update_alias",
            FunctionName=wanted.function,
            Name=wanted.name,
            FunctionVersion=told["FunctionVersion"],
            Description=told.get("Description", ""),
            RoutingConfig=told.get("RoutingConfig", _NO_WEIGHTS),
        )


def _signing(wanted: FunctionWanted) -> Mapping[str, Any]:
    """Code is checked from the first on, where a function says so."""
    return next((each.members for each in wanted.settings if each.kind == SIGNING), {})
