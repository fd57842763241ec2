"""Operations on function URLs: one for the function, one for each alias. They are kept; nothing serves them yet."""

import secrets
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from runtime.api.attachments import Place, Row, change, deleter, getter, lister, owner_of
from runtime.api.calls import Call, Operation, Services
from runtime.api.stamps import iso_timestamp, new_revision
from runtime.api.targets import Target, asked_target, existing_target, shared_target
from runtime.errors import LambdaError, conflict, not_found
from runtime.model import FunctionUrl
from runtime.store.errors import RecordExists, RecordMissing

_ID_LETTERS = "abcdefghijklmnopqrstuvwxyz234567"
_ID_LENGTH = 32


async def create_function_url_config(services: Services, call: Call) -> Mapping[str, Any]:
    params, target = call.params, shared_target(services, call, "FunctionUrl", _no_function)
    now = iso_timestamp(services.now())
    record = FunctionUrl(
        **_place(target).members,
        revision_id=new_revision(),
        url_id="".join(secrets.choice(_ID_LETTERS) for _ in range(_ID_LENGTH)),
        auth_type=params["AuthType"],
        invoke_mode=params.get("InvokeMode", "BUFFERED"),
        cors=params.get("Cors"),
        created=now,
        last_modified=now,
    )
    try:
        await services.store.attach(record, expected_revision=None)
    except RecordExists:
        raise conflict(
            f"Failed to create function url config for [functionArn = {target.arn}]. "
            "Error message:  FunctionUrlConfig exists for this Lambda function"
        ) from None
    except RecordMissing:
        raise _no_function(target) from None
    shown = {**_document(call, record), "InvokeMode": params.get("InvokeMode")}
    del shown["LastModifiedTime"]
    return shown


async def update_function_url_config(services: Services, call: Call) -> Mapping[str, Any]:
    params, target = call.params, existing_target(services, call, _no_function)
    place = _place(target)

    def edit(found: FunctionUrl | None) -> FunctionUrl:
        if found is None:
            raise _missing(place)
        return replace(
            found,
            revision_id=new_revision(),
            auth_type=params.get("AuthType", found.auth_type),
            invoke_mode=params.get("InvokeMode", found.invoke_mode),
            cors=params.get("Cors", found.cors),
            last_modified=iso_timestamp(services.now()),
        )

    return _document(call, await change(services, FunctionUrl, place, edit, lambda: _no_function(target)))


def _place(target: Target) -> Place:
    return Place(target.scope, target.name, target.qualifier or "")


def _no_function(_target: Target) -> LambdaError:
    return not_found("Function does not exist")


def _missing(_place: Place) -> LambdaError:
    return not_found("The resource you requested does not exist.")


def _document(call: Call, record: FunctionUrl) -> dict[str, Any]:
    return {
        "FunctionUrl": _url(call, record),
        "FunctionArn": record.function_arn,
        "AuthType": record.auth_type,
        "Cors": record.cors or None,
        "CreationTime": record.created,
        "LastModifiedTime": record.last_modified,
        "InvokeMode": record.invoke_mode,
    }


def _url(call: Call, record: FunctionUrl) -> str:
    """On this machine, not on AWS's hosts: nobody's requests shall go there by mistake."""
    base = urlsplit(call.base_url)
    port = f":{base.port}" if base.port else ""
    return f"{base.scheme}://{record.url_id}.lambda-url.{record.scope.region}.localhost{port}/"


_ROW = Row(
    record=FunctionUrl,
    place=lambda _services, call: _place(asked_target(call)),
    document=_document,
    missing=_missing,
)

OPERATIONS: dict[str, Operation] = {
    "CreateFunctionUrlConfig": create_function_url_config,
    "DeleteFunctionUrlConfig": deleter(_ROW),
    "GetFunctionUrlConfig": getter(_ROW),
    "ListFunctionUrlConfigs": lister(_ROW, "FunctionUrlConfigs", owner_of(_no_function)),
    "UpdateFunctionUrlConfig": update_function_url_config,
}
