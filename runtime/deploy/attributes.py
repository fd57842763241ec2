"""What resources give others: `Ref` (under that name) and `Fn::GetAtt`. Pure."""

from runtime.deploy.settings import ID_TAG, URL, MappingWanted, Setting, StatementWanted
from runtime.deploy.template import Stack
from runtime.deploy.wanted import AliasWanted, FunctionWanted, LayerWanted, VersionWanted, Wanted


def attributes(stack: Stack, wanted: Wanted, number: str = "1") -> dict[str, str]:
    """Of a resource; `number` is that of its version. What only the API gives has a stand-in here."""
    match wanted:
        case FunctionWanted():
            return _of_function(stack, wanted, number)
        case LayerWanted():
            arn = stack.arn("lambda", f"layer:{wanted.name}:{number}")
            found = {"Ref": arn, "LayerVersionArn": arn}
        case VersionWanted():
            arn = _arn(stack, wanted.function, number)
            found = {"Ref": arn, "FunctionArn": arn, "Version": number}
        case AliasWanted():
            arn = _arn(stack, wanted.function, wanted.name)
            found = {"Ref": arn, "AliasArn": arn}
        case Setting():
            found = _of_setting(stack, wanted)
        case StatementWanted():
            found = {"Ref": wanted.statement_id, "Id": wanted.statement_id}
        case MappingWanted():
            found = {"Ref": wanted.tags[ID_TAG], "Id": wanted.tags[ID_TAG]}
    return found


def _of_function(stack: Stack, wanted: FunctionWanted, number: str) -> dict[str, str]:
    arn = _arn(stack, wanted.name)
    found = {"Ref": wanted.name, "Arn": arn}
    if wanted.alias:
        found |= {"Alias": f"{arn}:{wanted.alias}", "Version": f"{arn}:{number}"}
    if any(each.kind == URL for each in wanted.settings):
        found["FunctionUrl"] = _url(stack, wanted.name)
    return found


def _of_setting(stack: Stack, wanted: Setting) -> dict[str, str]:
    arn = _arn(stack, wanted.function, wanted.qualifier)
    if wanted.kind == URL:
        return {"Ref": arn, "FunctionArn": arn, "FunctionUrl": _url(stack, wanted.function)}
    return {"Ref": f"{wanted.function}|{wanted.qualifier}"}


def _arn(stack: Stack, function: str, qualifier: str = "") -> str:
    return stack.arn("lambda", f"function:{function}" + (f":{qualifier}" if qualifier else ""))


def _url(stack: Stack, function: str) -> str:
    """Until the API has given a URL its host."""
    return f"https://{function.lower()}.lambda-url.{stack.region}.localhost/"
