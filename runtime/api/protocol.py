"""Lambda's wire protocol as its published service model describes it: the door's front half.

One object ties together routing, parsing, constraint checks and serialisation for the newest version of the API
that the installed botocore knows. What an operation does is not known here.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any

from botocore.loaders import Loader
from botocore.model import OperationModel, ServiceModel

from runtime.api.additions import with_additions, with_qualifier
from runtime.api.parsing import RawRequest, parse
from runtime.api.routing import Match, Routes
from runtime.api.serialisation import Answer, serialise
from runtime.api.validation import validate


@cache
def load_service() -> ServiceModel:
    """Lambda's model from the botocore package itself, never from a user's customised models; with our additions."""
    loader = Loader(extra_search_paths=[Loader.BUILTIN_DATA_PATH], include_default_search_paths=False)
    return ServiceModel(with_additions(loader.load_service_model("lambda", "service-2")), "lambda")


def runtime_identifiers() -> tuple[str, ...]:
    """Every runtime that the model knows, the blocked ones included."""
    return tuple(load_service().shape_for("Runtime").enum)


class Protocol:
    """The REST protocol of one service."""

    def __init__(self, service: ServiceModel | None = None) -> None:
        self.service = service or load_service()
        self._routes = Routes(self.service)

    @property
    def operations(self) -> tuple[str, ...]:
        return tuple(self.service.operation_names)

    def match(self, method: str, raw_path: str, query: Mapping[str, str]) -> Match | None:
        return self._routes.match(method, raw_path, query)

    def read(self, operation: OperationModel, request: RawRequest) -> dict[str, Any]:
        """The operation's input, checked against the model's types and constraints."""
        params = parse(operation, request)
        with_qualifier(operation.name, params)
        if operation.input_shape is not None:
            validate(operation.input_shape, params)
        return params

    def write(self, operation: OperationModel, result: Mapping[str, Any]) -> Answer:
        return serialise(operation, result)
