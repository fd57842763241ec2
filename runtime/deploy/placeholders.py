"""What stands for resources that Berth does not do, so that variables and roles can be built from them. Pure.

Nothing is behind these names and ARNs; they have the form that the real ones have.
"""

from collections.abc import Mapping
from typing import Any

from runtime.deploy.template import Stack

_NAMES = {
    "AWS::ApiGateway::RestApi": "Name",
    "AWS::DynamoDB::GlobalTable": "TableName",
    "AWS::DynamoDB::Table": "TableName",
    "AWS::Events::EventBus": "Name",
    "AWS::IAM::Role": "RoleName",
    "AWS::Kinesis::Stream": "Name",
    "AWS::Logs::LogGroup": "LogGroupName",
    "AWS::S3::Bucket": "BucketName",
    "AWS::SNS::Topic": "TopicName",
    "AWS::SQS::Queue": "QueueName",
    "AWS::SSM::Parameter": "Name",
    "AWS::Serverless::SimpleTable": "TableName",
    "AWS::Serverless::StateMachine": "Name",
    "AWS::StepFunctions::StateMachine": "StateMachineName",
}
"""The property that names a resource."""
_ARNS = {
    "AWS::DynamoDB::GlobalTable": ("dynamodb", "table/{}"),
    "AWS::DynamoDB::Table": ("dynamodb", "table/{}"),
    "AWS::Events::EventBus": ("events", "event-bus/{}"),
    "AWS::Kinesis::Stream": ("kinesis", "stream/{}"),
    "AWS::Logs::LogGroup": ("logs", "log-group:{}:*"),
    "AWS::SNS::Topic": ("sns", "{}"),
    "AWS::SQS::Queue": ("sqs", "{}"),
    "AWS::SSM::Parameter": ("ssm", "parameter/{}"),
    "AWS::SecretsManager::Secret": ("secretsmanager", "secret:{}"),
    "AWS::Serverless::SimpleTable": ("dynamodb", "table/{}"),
    "AWS::Serverless::StateMachine": ("states", "stateMachine:{}"),
    "AWS::StepFunctions::StateMachine": ("states", "stateMachine:{}"),
}
_REF_IS_ARN = {
    *("AWS::SNS::Topic", "AWS::SecretsManager::Secret", "AWS::Serverless::StateMachine"),
    "AWS::StepFunctions::StateMachine",
}


def placeholder(
    stack: Stack, logical_id: str, kind: str, properties: Mapping[str, Any], attribute: str | None
) -> str:
    """An attribute of a resource that is not there, or what `Ref` would give."""
    name = _name(stack, logical_id, kind, properties)
    if attribute is None:
        if kind == "AWS::SQS::Queue":
            return f"https://sqs.{stack.region}.amazonaws.com/{stack.account}/{name}"
        return _arn(stack, kind, name) if kind in _REF_IS_ARN else name
    if attribute == "QueueUrl":
        return f"https://sqs.{stack.region}.amazonaws.com/{stack.account}/{name}"
    if attribute.endswith("Arn"):
        suffix = "/stream/berth" if attribute == "StreamArn" else ""
        return _arn(stack, kind, name) + suffix
    return name if attribute.endswith("Name") else f"{name}.{attribute}"


def _name(stack: Stack, logical_id: str, kind: str, properties: Mapping[str, Any]) -> str:
    given = properties.get(_NAMES.get(kind, ""))
    name = given if isinstance(given, str) and given else f"{stack.name}-{logical_id}"
    return name.lower() if kind == "AWS::S3::Bucket" else name


def _arn(stack: Stack, kind: str, name: str) -> str:
    if kind == "AWS::IAM::Role":
        return role_arn(stack, name)
    if kind == "AWS::S3::Bucket":
        return f"arn:aws:s3:::{name}"
    service, form = _ARNS.get(kind, (kind.split("::")[1].lower() if "::" in kind else "custom", "{}"))
    return stack.arn(service, form.format(name))


def role_arn(stack: Stack, name: str) -> str:
    return f"arn:aws:iam::{stack.account}:role/{name}"
