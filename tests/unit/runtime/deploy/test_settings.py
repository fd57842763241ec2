"""Settings beside functions, as templates have them: what is wrong with them, and how statements are known again."""

from typing import Any

import pytest

from runtime.deploy.documents import parse
from runtime.deploy.errors import TemplateError
from runtime.deploy.plan import Plan, make_plan
from runtime.deploy.setting_steps import statement_members
from runtime.deploy.settings import (
    MappingWanted,
    StatementWanted,
    function_and_qualifier,
    is_statement_of,
    typed,
)
from runtime.deploy.template import Stack
from runtime.deploy.wanted import FunctionWanted

FUNCTION = "Type: AWS::Serverless::Function, Properties: {Runtime: python3.11, Handler: a.b, CodeUri: src"


def plan(resources: str, stack: str = "demo") -> Plan:
    return make_plan(parse(f"Resources: {{{resources}}}"), Stack(stack, "123456789012", "eu-central-1"), {})


@pytest.mark.parametrize(
    ("properties", "text"),
    [
        ("ReservedConcurrentExecutions: many", "ReservedConcurrentExecutions: 'many' is not a whole number"),
        (
            "ProvisionedConcurrencyConfig: {ProvisionedConcurrentExecutions: 1}",
            "ProvisionedConcurrencyConfig: needs AutoPublishAlias",
        ),
        (
            "AutoPublishAlias: live, ProvisionedConcurrencyConfig: {}",
            "ProvisionedConcurrencyConfig: ProvisionedConcurrentExecutions is missing",
        ),
        (
            "EventInvokeConfig: {DestinationConfig: {OnSuccess: {Type: SQS}}}",
            "OnSuccess.Destination: is missing: queues and topics are not made here",
        ),
        ("FunctionUrlConfig: {InvokeMode: BUFFERED}", "FunctionUrlConfig: AuthType is missing"),
        (
            "FunctionUrlConfig: {AuthType: NONE, Cors: {AllowCredentials: maybe}}",
            "AllowCredentials: 'maybe' is neither true nor false",
        ),
        (
            "CapacityProviderConfig: {PerExecutionEnvironmentMaxConcurrency: 2}",
            "CapacityProviderArn is missing",
        ),
    ],
)
def test_what_is_wrong_is_told_by_its_place(properties: str, text: str) -> None:
    """Before anything is deployed."""
    with pytest.raises(TemplateError) as error:
        plan(f"F: {{{FUNCTION}, {properties}}}}}")
    assert text in str(error.value)


def test_a_capacity_provider_is_named_in_both_forms() -> None:
    """SAM's and CloudFormation's members come to the same, with numbers."""
    arn = "arn:aws:lambda:eu-central-1:123456789012:capacity-provider:p"
    members = "PerExecutionEnvironmentMaxConcurrency: 2, ExecutionEnvironmentMemoryGiBPerVCpu: 4"
    other = f"{{LambdaManagedInstancesCapacityProviderConfig: {{CapacityProviderArn: '{arn}', {members}}}}}"
    made = plan(
        f"F: {{{FUNCTION}, CapacityProviderConfig: {{Arn: '{arn}', {members}}}}}}}, "
        "G: {Type: AWS::Lambda::Function, Properties: "
        f"{{Runtime: python3.11, Handler: a.b, Code: src, CapacityProviderConfig: {other}}}}}"
    )
    for name in ("F", "G"):
        wanted = made.wanted(name, {})
        assert isinstance(wanted, FunctionWanted)
        assert wanted.configuration["CapacityProviderConfig"] == {
            "LambdaManagedInstancesCapacityProviderConfig": {
                "CapacityProviderArn": arn,
                "PerExecutionEnvironmentMaxConcurrency": 2,
                "ExecutionEnvironmentMemoryGiBPerVCpu": 4.0,
            }
        }


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ("f", ("f", "")),
        ("f:live", ("f", "live")),
        ("arn:aws:lambda:us-east-1:123456789012:function:f", ("f", "")),
        ("arn:aws:lambda:us-east-1:123456789012:function:f:2", ("f", "2")),
        ("123456789012:function:f:live", ("f", "live")),
        ("function", ("function", "")),
    ],
)
def test_functions_are_named_in_every_form(given: str, found: tuple[str, str]) -> None:
    """By name, by partial and by whole ARN."""
    assert function_and_qualifier(given) == found


def statement(**members: str) -> StatementWanted:
    given = {"Action": "a", "Principal": "p", "FunctionName": "f"} | members
    text = ", ".join(f"{name}: '{value}'" for name, value in given.items())
    wanted = plan(f"P: {{Type: AWS::Lambda::Permission, Properties: {{{text}}}}}").wanted("P", {})
    assert isinstance(wanted, StatementWanted)
    return wanted


def test_statements_are_known_by_what_they_say() -> None:
    """The same statement has the same identifier, another one another; both are the stack's, and no other stack's."""
    one, other = statement(), statement(SourceArn="arn:x")
    assert one.statement_id == statement().statement_id != other.statement_id
    assert one.mark == other.mark == "demo-P"
    assert is_statement_of("demo", one.statement_id)
    for stack in ("de", "demo-P", "d.mo"):
        assert not is_statement_of(stack, one.statement_id)
    assert not is_statement_of("demo", "demo-P")


def test_an_identifier_is_not_too_long() -> None:
    """A stack's name can be longer than a statement's identifier may be."""
    properties = "{Action: a, Principal: p, FunctionName: f}"
    with pytest.raises(TemplateError, match="too long for a statement's identifier"):
        plan(f"P: {{Type: AWS::Lambda::Permission, Properties: {properties}}}", "s" * 90)


@pytest.mark.parametrize(
    ("members", "made"),
    [
        ({}, {}),
        ({"SourceArn": "x", "SourceAccount": "1"}, {"ArnLike": {"AWS:SourceArn": "x"}, "StringEquals": {"AWS:SourceAccount": "1"}}),
        ({"InvokedViaFunctionUrl": True}, {"Bool": {"lambda:InvokedViaFunctionUrl": "true"}}),
        ({"PrincipalOrgID": "o"}, {"StringEquals": {"aws:PrincipalOrgID": "o"}}),
    ],
)  # fmt: skip
def test_a_statement_is_put_back_as_it_was(members: dict[str, Any], made: dict[str, Any]) -> None:
    """By what AddPermission had made of it."""
    for principal, shown in (("*", "*"), ("s3.amazonaws.com", {"Service": "s3.amazonaws.com"})):
        found = {"Sid": "s", "Action": "a", "Principal": shown, "Condition": made}
        assert statement_members(found, of_layer=False) == {"Action": "a", "Principal": principal, **members}


def test_an_organisation_is_a_layers_member_of_another_name() -> None:
    """As AddLayerVersionPermission has it."""
    found = {"Action": "a", "Principal": "*", "Condition": {"StringEquals": {"aws:PrincipalOrgID": "o"}}}
    assert statement_members(found, of_layer=True) == {"Action": "a", "Principal": "*", "OrganizationId": "o"}


def test_a_mapping_is_another_only_where_it_cannot_be_updated() -> None:
    """By its source or by which members it has; not by their values."""
    one = MappingWanted({"FunctionName": "f", "EventSourceArn": "s", "BatchSize": 1}, {})
    bigger = MappingWanted({"FunctionName": "f", "EventSourceArn": "s", "BatchSize": 2}, {})
    assert (one.fixed == bigger.fixed, one.whole == bigger.whole) == (True, False)
    for other in ({"FunctionName": "f", "EventSourceArn": "t", "BatchSize": 1}, {"FunctionName": "f", "EventSourceArn": "s"}):  # fmt: skip
        assert MappingWanted(other, {}).fixed != one.fixed


def test_numbers_and_flags_are_told_by_their_names() -> None:
    """However deep they are; texts stay texts."""
    given = {"Enabled": "true", "Scaling": {"MaximumConcurrency": "2"}, "Topics": ["1"], "Retries": None}
    assert typed(given, ()) == {"Enabled": True, "Scaling": {"MaximumConcurrency": 2}, "Topics": ["1"]}
    assert typed({"MaximumRetryAttempts": "-1"}, ()) == {"MaximumRetryAttempts": -1}
    with pytest.raises(TemplateError, match=r"A\.BatchSize: 'x' is not a whole number"):
        typed({"BatchSize": "x"}, ("A",))
