"""The steps for what is configured beside functions, versions and aliases: compared, put, and taken off again where the
template no longer says it. In a dry run they only say what that would be.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from runtime.deploy.journal import Journal
from runtime.deploy.places import all_of, answered, put, take_off, told
from runtime.deploy.report import CREATED, UNCHANGED, UPDATED, Outcome
from runtime.deploy.service import Service
from runtime.deploy.settings import (
    CONCURRENCY,
    ID_TAG,
    MAPPING_FIXED,
    STACK_TAG,
    URL,
    MappingWanted,
    Setting,
    StatementWanted,
    function_and_qualifier,
    is_statement_of,
)

_DIGEST_TAG = "berth:settings"
"""Of an event source mapping: what it was asked to be."""
_READ_ONLY = {
    *("EventSourceMappingArn", "FilterCriteriaError", "FunctionArn", "LastModified", "LastProcessingResult"),
    *("ResponseMetadata", "State", "StateTransitionReason", "UUID"),
}
Policy = tuple[str, str, bool]
"""Whose a policy is: a function or layer, its qualifier or version, and whether it is a layer."""


@dataclass(frozen=True, slots=True)
class SettingSteps:
    """The steps of one deployment of one stack."""

    service: Service
    stack: str
    dry_run: bool
    tell: Callable[[str], None]
    warn: Callable[[str], None]
    journal: Journal
    _places: set[tuple[str, str, str]] = field(default_factory=set)
    _statements: set[tuple[Policy, str]] = field(default_factory=set)
    _mappings: set[str] = field(default_factory=set)
    #: What the template says, and must not be taken off.
    _later: dict[str, tuple[Setting, Mapping[str, Any] | None]] = field(default_factory=dict)
    #: By function: concurrency that is reserved once less is provisioned, and what was reserved before.

    def settings(self, wanted: tuple[Setting, ...]) -> tuple[str, ...]:
        """Put what differs; its kinds."""
        return tuple(each.kind for each in wanted if self._setting(each))

    def resource(self, wanted: Setting | StatementWanted | MappingWanted) -> Outcome:
        """One that is a resource of the template."""
        match wanted:
            case Setting():
                return self.setting(wanted)
            case StatementWanted():
                return self.statement(wanted)
            case MappingWanted():
                return self.mapping(wanted)

    def setting(self, wanted: Setting) -> Outcome:
        """One that is a resource."""
        known = told(self.service, wanted.kind, wanted.function, wanted.qualifier)
        changed = self._setting(wanted)
        action = (CREATED if known is None else UPDATED) if changed else UNCHANGED
        return Outcome(_named(wanted), action, attributes=self.attributes((wanted,)))

    def attributes(self, settings: tuple[Setting, ...]) -> dict[str, str]:
        """What only the API knows of them: a URL."""
        for each in settings:
            if each.kind == URL:
                answer = answered(self.service, *each.place) or {}
                return {"FunctionUrl": answer["FunctionUrl"]} if answer else {}
        return {}

    def _setting(self, wanted: Setting) -> bool:
        self._places.add(wanted.place)
        before = told(self.service, *wanted.place)
        if before == wanted.members:
            return False
        if wanted.kind == CONCURRENCY and (
            before is None or wanted.members[CONCURRENCY] < before[CONCURRENCY]
        ):
            self._later[wanted.function] = (wanted, before)
        else:
            self._put(wanted, before)
        return True

    def _put(self, wanted: Setting, before: Mapping[str, Any] | None) -> None:
        self.tell(f"setting {wanted.kind} of {_named(wanted)}")
        if not self.dry_run:
            put(self.service, wanted, is_there=before is not None)
            self._undo(wanted, before)

    def _undo(self, now: Setting, before: Mapping[str, Any] | None) -> None:
        if before is None:
            self.journal.done(
                f"taking {now.kind} off {_named(now)}", partial(take_off, self.service, *now.place)
            )
            return
        former = Setting(*now.place, before)
        self.journal.done(
            f"putting back {now.kind} of {_named(now)}", partial(put, self.service, former, is_there=True)
        )

    def left(self, function: str) -> tuple[str, ...]:
        """Take off a function of the stack what the template does not say, and do what had to wait for that; the kinds
        that were taken off.
        """
        taken = tuple(
            each.kind
            for each in list(all_of(self.service, function))
            if each.place not in self._places and self._take_off(each)
        )
        if (later := self._later.pop(function, None)) is not None:
            self._put(*later)
        return taken

    def _take_off(self, setting: Setting) -> bool:
        self.tell(f"taking {setting.kind} off {_named(setting)}")
        if not self.dry_run:
            take_off(self.service, *setting.place)
            self.journal.done(
                f"putting back {setting.kind} of {_named(setting)}", partial(self._put_back, setting)
            )
        return True

    def _put_back(self, setting: Setting) -> None:
        put(self.service, setting, is_there=False)
        if setting.kind == URL:
            self.warn(f"{_named(setting)} has a function URL again, but another one")

    def statement(self, wanted: StatementWanted) -> Outcome:
        """A statement of a policy; one that says something else takes its place."""
        policy = (wanted.owner, wanted.qualifier, wanted.is_of_layer)
        self._statements.add((policy, wanted.statement_id))
        present = self._statements_of(policy)
        if wanted.statement_id in present:
            return Outcome(wanted.statement_id, UNCHANGED)
        self.tell(f"adding the statement {wanted.statement_id} to the policy of {_owner(policy)}")
        if not self.dry_run:
            self._add_statement(policy, wanted.statement_id, wanted.members)
        former = [
            each
            for each in present
            if is_statement_of(self.stack, each) and each.rpartition("-")[0] == wanted.mark
        ]
        for statement_id in former:
            self._drop_statement(policy, statement_id)
        return Outcome(wanted.statement_id, UPDATED if former else CREATED)

    def _add_statement(self, policy: Policy, statement_id: str, members: Mapping[str, Any]) -> None:
        operation = "add_layer_version_permission" if policy[2] else "add_permission"
        self.service.call(operation, StatementId=statement_id, **_policy_of(policy), **members)
        self.journal.done(
            f"removing the statement {statement_id} from the policy of {_owner(policy)}",
            partial(self._remove_statement, policy, statement_id),
        )

    def _remove_statement(self, policy: Policy, statement_id: str) -> None:
        operation = "remove_layer_version_permission" if policy[2] else "remove_permission"
        self.service.call(operation, StatementId=statement_id, **_policy_of(policy))

    def _statements_of(self, policy: Policy) -> dict[str, Mapping[str, Any]]:
        operation = "get_layer_version_policy" if policy[2] else "get_policy"
        found = self.service.find(operation, **_policy_of(policy))
        listed = json.loads(found["Policy"])["Statement"] if found else []
        return {each["Sid"]: each for each in listed if "Sid" in each}

    def left_statements(self, owner: str, qualifier: str, *, of_layer: bool) -> Iterator[str]:
        """Remove the stack's statements that its template does not have."""
        policy = (owner, qualifier, of_layer)
        for statement_id in self._statements_of(policy):
            if not is_statement_of(self.stack, statement_id) or (policy, statement_id) in self._statements:
                continue
            yield statement_id
            self._drop_statement(policy, statement_id)

    def _drop_statement(self, policy: Policy, statement_id: str) -> None:
        self.tell(f"removing the statement {statement_id} from the policy of {_owner(policy)}")
        if self.dry_run:
            return
        before = statement_members(self._statements_of(policy)[statement_id], of_layer=policy[2])
        self._remove_statement(policy, statement_id)
        operation = "add_layer_version_permission" if policy[2] else "add_permission"
        self.journal.done(
            f"adding the statement {statement_id} to the policy of {_owner(policy)} again",
            partial(self.service.call, operation, StatementId=statement_id, **_policy_of(policy), **before),
        )

    def mapping(self, wanted: MappingWanted) -> Outcome:
        """An event source mapping, by its tags. What cannot be updated is made anew."""
        found = self._mapping_of(wanted.tags[ID_TAG])
        name = f"{wanted.members['FunctionName']} <- {wanted.members.get('EventSourceArn', 'its own source')}"
        if found is None:
            self.tell(f"mapping {name}")
            return self._created(name, wanted, CREATED)
        self._mappings.add(found["UUID"])
        tags = self.service.call("list_tags", Resource=found["EventSourceMappingArn"])["Tags"]
        fixed, _, whole = tags.get(_DIGEST_TAG, "").partition("/")
        if fixed != wanted.fixed:
            self.tell(f"mapping {name} anew")
            if not self.dry_run:
                self._delete_mapping(found, tags)
            return self._created(name, wanted, UPDATED)
        attributes = {"Ref": found["UUID"], "Id": found["UUID"]}
        asked = {**wanted.tags, _DIGEST_TAG: f"{fixed}/{wanted.whole}"}
        changes = _changed(wanted, found) if whole == wanted.whole else tuple(wanted.members)
        new_tags = {name: value for name, value in asked.items() if tags.get(name) != value}
        if not changes and not new_tags:
            return Outcome(name, UNCHANGED, attributes=attributes)
        self.tell(f"updating the mapping {name}")
        if not self.dry_run:
            self._update_mapping(wanted, found, tags, asked)
        return Outcome(name, UPDATED, attributes=attributes)

    def _mapping_of(self, logical_id: str) -> Mapping[str, Any] | None:
        return next((each for each, tags in self._own_mappings() if tags.get(ID_TAG) == logical_id), None)

    def _own_mappings(self) -> Iterator[tuple[Mapping[str, Any], Mapping[str, str]]]:
        for each in self.service.listed("list_event_source_mappings", "EventSourceMappings"):
            tags = self.service.call("list_tags", Resource=each["EventSourceMappingArn"])["Tags"]
            if tags.get(STACK_TAG) == self.stack:
                yield each, tags

    def _created(self, name: str, wanted: MappingWanted, action: str) -> Outcome:
        if self.dry_run:
            return Outcome(name, action)
        tags = {**wanted.tags, _DIGEST_TAG: f"{wanted.fixed}/{wanted.whole}"}
        made = self.service.call("create_event_source_mapping", **wanted.members, Tags=tags)
        self._mappings.add(made["UUID"])
        self.journal.done(
            f"deleting the mapping {name}",
            partial(self.service.call, "delete_event_source_mapping", UUID=made["UUID"]),
        )
        return Outcome(name, action, attributes={"Ref": made["UUID"], "Id": made["UUID"]})

    def _update_mapping(
        self,
        wanted: MappingWanted,
        found: Mapping[str, Any],
        tags: Mapping[str, str],
        asked: Mapping[str, str],
    ) -> None:
        uuid, arn = found["UUID"], found["EventSourceMappingArn"]
        members = {name: value for name, value in wanted.members.items() if name not in MAPPING_FIXED}
        self.service.call("update_event_source_mapping", UUID=uuid, **members)
        before = {name: found[name] for name in members if name in found} | {
            "FunctionName": found["FunctionArn"]
        }
        self.journal.done(
            f"putting back the mapping {uuid}",
            partial(self.service.call, "update_event_source_mapping", UUID=uuid, **before),
        )
        self.service.call("tag_resource", Resource=arn, Tags=dict(asked))
        self.journal.done(
            f"putting back the tags of the mapping {uuid}",
            partial(self.service.call, "tag_resource", Resource=arn, Tags=dict(tags)),
        )

    def _delete_mapping(self, found: Mapping[str, Any], tags: Mapping[str, str]) -> None:
        self.service.call("delete_event_source_mapping", UUID=found["UUID"])
        self.journal.done(
            f"making the mapping of {found['FunctionArn']} again",
            partial(self.service.call, "create_event_source_mapping", **_former(found), Tags=dict(tags)),
        )

    def left_mappings(self, functions: set[str]) -> Iterator[str]:
        """Delete the stack's mappings of these functions that its template does not have."""
        for each, tags in list(self._own_mappings()):
            function, _ = function_and_qualifier(each["FunctionArn"])
            if function in functions and each["UUID"] not in self._mappings:
                yield function
                self.tell(f"deleting the mapping {each['UUID']} of {function}")
                if not self.dry_run:
                    self._delete_mapping(each, tags)


def _named(setting: Setting) -> str:
    return f"{setting.function}:{setting.qualifier}" if setting.qualifier else setting.function


def _owner(policy: Policy) -> str:
    owner, qualifier, _ = policy
    return f"{owner}:{qualifier}" if qualifier else owner


def _policy_of(policy: Policy) -> dict[str, Any]:
    owner, qualifier, is_of_layer = policy
    if is_of_layer:
        return {"LayerName": owner, "VersionNumber": int(qualifier)}
    return {"FunctionName": owner} | ({"Qualifier": qualifier} if qualifier else {})


def _changed(wanted: MappingWanted, found: Mapping[str, Any]) -> tuple[str, ...]:
    """Members that somebody else has changed. Whether it is enabled does not show while nothing is polled."""
    skipped = {"Enabled", "FunctionName", *MAPPING_FIXED}
    return tuple(
        name
        for name, value in wanted.members.items()
        if name not in skipped and found.get(name, value) != value
    )


def _former(found: Mapping[str, Any]) -> dict[str, Any]:
    members = {
        name: value
        for name, value in found.items()
        if name not in _READ_ONLY and value is not None and value != []
    }
    return members | {"FunctionName": found["FunctionArn"]}


_CONDITIONS = {
    "AWS:SourceArn": "SourceArn",
    "AWS:SourceAccount": "SourceAccount",
    "aws:PrincipalOrgID": "PrincipalOrgID",
    "lambda:EventSourceToken": "EventSourceToken",
    "lambda:FunctionUrlAuthType": "FunctionUrlAuthType",
    "lambda:InvokedViaFunctionUrl": "InvokedViaFunctionUrl",
}


def statement_members(statement: Mapping[str, Any], *, of_layer: bool) -> dict[str, Any]:
    """What AddPermission was told, by the statement that it made."""
    principal = statement["Principal"]
    if isinstance(principal, Mapping):
        principal = next(iter(principal.values()))
    members = {"Action": statement["Action"], "Principal": principal}
    for tests in statement.get("Condition", {}).values():
        for key, value in tests.items():
            name = "OrganizationId" if of_layer else _CONDITIONS[key]
            members[name] = value == "true" if name == "InvokedViaFunctionUrl" else value
    return members
