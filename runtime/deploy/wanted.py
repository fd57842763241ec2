"""What a resource is to be: from its properties to what the API knows of it. Pure.

Every record is whole: what the template leaves out has Lambda's default, so that taking a property out of the template
takes it back. Which types of resources there are is `kinds`'s matter.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from runtime.deploy.errors import Path, TemplateError
from runtime.deploy.placeholders import role_arn
from runtime.deploy.properties import Properties
from runtime.deploy.settings import (
    ID_TAG,
    STACK_TAG,
    MappingWanted,
    Setting,
    StatementWanted,
    function_and_qualifier,
    of_functions,
    of_published,
    of_serverless,
    typed,
)
from runtime.deploy.template import Stack

DEFAULTS: dict[str, Any] = {
    "Architectures": ["x86_64"],
    "DeadLetterConfig": {"TargetArn": ""},
    "Description": "",
    "Environment": {"Variables": {}},
    "EphemeralStorage": {"Size": 512},
    "KMSKeyArn": "",
    "Layers": [],
    "LoggingConfig": {"LogFormat": "Text"},
    "MemorySize": 128,
    "SnapStart": {"ApplyOn": "None"},
    "Timeout": 3,
    "TracingConfig": {"Mode": "PassThrough"},
}
"""What the API gives a function that says nothing."""
_NAME_LIMIT = 64
_EXTENSIONS = {"nodejs": "js", "python": "py", "ruby": "rb"}
_S3_URL = re.compile(r"s3://(?P<bucket>[^/]+)/(?P<key>.+)")
_WEIGHT = re.compile(r"(0?\.\d+|[01](\.\d+)?)", re.ASCII)


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object in S3."""

    bucket: str
    key: str
    version: str | None = None


@dataclass(frozen=True, slots=True)
class Build:
    """How a container image is built. `dockerfile` is a path in the folder `context`."""

    repository: str
    tag: str
    context: str
    dockerfile: str
    target: str
    arguments: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Source:
    """Where a package comes from: a file or folder beside the template, the text of its one file, or S3; or which
    container image stands in its place.
    """

    where: Path
    """The property that says so."""
    path: str | None
    """Of a file or folder; of an image that is built, its context."""
    inline: str = ""
    file: str = ""
    """The name that the text gets in the package."""
    object: StoredObject | None = None
    image: str = ""
    """The URI of an image that is there."""
    build: Build | None = None


@dataclass(frozen=True, slots=True)
class FunctionWanted:
    """A function. `configuration` has the API's members."""

    name: str
    configuration: dict[str, Any]
    source: Source
    tags: dict[str, str]
    alias: str | None
    """The alias that follows what is published of it."""
    settings: tuple[Setting, ...] = ()
    fixed: Mapping[str, Any] = field(default_factory=dict)
    """Members that a function is created with, and has for ever."""


@dataclass(frozen=True, slots=True)
class LayerWanted:
    name: str
    source: Source
    details: dict[str, Any]
    """Description, licence and what it is compatible with, as the API's members."""


@dataclass(frozen=True, slots=True)
class VersionWanted:
    """A version. Its description ends with the mark, by which it is found again."""

    function: str
    description: str
    mark: str
    settings: tuple[Setting, ...] = ()
    """Of a version whose number is still to come."""


@dataclass(frozen=True, slots=True)
class AliasWanted:
    function: str
    name: str
    version: str
    description: str
    weights: dict[str, float]
    settings: tuple[Setting, ...] = ()


Wanted = (
    FunctionWanted | LayerWanted | VersionWanted | AliasWanted | Setting | StatementWanted | MappingWanted
)


@dataclass(frozen=True, slots=True)
class Reading:
    """One resource to be read."""

    stack: Stack
    logical_id: str
    properties: Properties
    metadata: Properties
    """What `sam build` is told beside them."""

    @property
    def is_image(self) -> bool:
        """Whether a function is a container image."""
        package_type = self.properties.text("PackageType", "Zip")
        if package_type not in ("Zip", "Image"):
            raise self.properties.wrong("PackageType", f"{package_type!r} is neither Zip nor Image")
        return package_type == "Image"

    @property
    def default_name(self) -> str:
        return f"{self.stack.name}-{self.logical_id}"


def serverless_function(reading: Reading) -> FunctionWanted:
    properties = reading.properties
    tracing = {"Active": "Active", "Disabled": "PassThrough", "PassThrough": "PassThrough"}
    mode = properties.text("Tracing", "PassThrough")
    if mode not in tracing:
        raise properties.wrong("Tracing", f"{mode!r} is not one of {', '.join(tracing)}")
    if reading.is_image:
        source = _image(reading, properties, "ImageUri")
    elif properties.get("InlineCode") is None:
        source = _package(properties, "CodeUri", *_SAM_OBJECT)
    else:
        source = _inline(properties, "InlineCode", properties.text("InlineCode"))
    alias = properties.text("AutoPublishAlias")
    provider = properties.inner("CapacityProviderConfig")
    wanted = _function(
        reading,
        source,
        {
            "TracingConfig": {"Mode": tracing[mode]},
            "KMSKeyArn": properties.text("KmsKeyArn"),
            "DeadLetterConfig": {"TargetArn": properties.inner("DeadLetterQueue").text("TargetArn")},
            **_managed(
                Properties(
                    {_ARN_OF.get(name, name): each for name, each in provider.values.items()}, provider.path
                )
            ),
        },
        alias or None,
    )
    return replace(wanted, settings=tuple(of_serverless(properties, wanted.name, alias)))


def lambda_function(reading: Reading) -> FunctionWanted:
    properties = reading.properties
    if reading.is_image:
        source = _image(reading, properties.inner("Code"), "ImageUri")
    elif isinstance(properties.get("Code"), Mapping) and "ZipFile" in properties.values["Code"]:
        source = _inline(properties, "Code", properties.inner("Code").text("ZipFile"))
    else:
        source = _package(properties, "Code", *_LAMBDA_OBJECT)
    wanted = _function(
        reading,
        source,
        {
            "TracingConfig": {"Mode": properties.inner("TracingConfig").text("Mode", "PassThrough")},
            "KMSKeyArn": properties.text("KmsKeyArn"),
            "DeadLetterConfig": {"TargetArn": properties.inner("DeadLetterConfig").text("TargetArn")},
            **_managed(properties.inner("CapacityProviderConfig").inner(_MANAGED)),
        },
        None,
    )
    return replace(wanted, settings=tuple(of_functions(properties, wanted.name)))


_MANAGED = "LambdaManagedInstancesCapacityProviderConfig"
_ARN_OF = {"Arn": "CapacityProviderArn"}
"""SAM's name for a member, and the API's."""


def _managed(properties: Properties) -> dict[str, Any]:
    """The capacity provider that a function runs on, if it does."""
    if not properties.values:
        return {}
    properties.required("CapacityProviderArn")
    return {"CapacityProviderConfig": {_MANAGED: typed(properties.values, properties.path)}}


def _function(
    reading: Reading, source: Source, particular: dict[str, Any], alias: str | None
) -> FunctionWanted:
    """What both kinds of functions have in common, and what the particular one has beside it."""
    properties, stack = reading.properties, reading.stack
    name = properties.text("FunctionName") or reading.default_name
    if len(name) > _NAME_LIMIT:
        raise TemplateError(
            f"the name {name} is longer than {_NAME_LIMIT}: give it a FunctionName", properties.path
        )
    own_tags = {STACK_TAG: stack.name, ID_TAG: reading.logical_id}
    if "CapacityProviderConfig" in particular:  # Lambda's defaults are others there, and lines always JSON
        logging = properties.inner("LoggingConfig").pairs() | {"LogFormat": "JSON"}
        particular |= {"LoggingConfig": logging, "MemorySize": properties.number("MemorySize", 2048)}
    mode = properties.inner("TenancyConfig").text("TenantIsolationMode")
    return FunctionWanted(
        name,
        _configuration(reading) | particular,
        source,
        properties.tags() | own_tags,
        alias,
        fixed={"TenancyConfig": {"TenantIsolationMode": mode}} if mode else {},
    )


def _configuration(reading: Reading) -> dict[str, Any]:
    properties = reading.properties
    return {
        **(_of_images(properties) if reading.is_image else _of_packages(properties)),
        "Role": properties.text("Role") or role_arn(reading.stack, f"{reading.default_name}Role"),
        "Architectures": properties.texts("Architectures") or DEFAULTS["Architectures"],
        "Description": properties.text("Description"),
        "Environment": {"Variables": properties.inner("Environment").inner("Variables").pairs()},
        "EphemeralStorage": {"Size": properties.inner("EphemeralStorage").number("Size", 512)},
        "LoggingConfig": {"LogFormat": "Text"} | properties.inner("LoggingConfig").pairs(),
        "MemorySize": properties.number("MemorySize", 128),
        "Timeout": properties.number("Timeout", 3),
    }


def _of_packages(properties: Properties) -> dict[str, Any]:
    return {
        "Runtime": properties.required("Runtime"),
        "Handler": properties.required("Handler"),
        "Layers": properties.texts("Layers") or [],
        "SnapStart": {"ApplyOn": properties.inner("SnapStart").text("ApplyOn", "None")},
    }


def _of_images(properties: Properties) -> dict[str, Any]:
    """Runtime, Handler and Layers may come from `Globals`, where they are meant for other functions."""
    inner = properties.inner("ImageConfig")
    config = {
        "EntryPoint": inner.texts("EntryPoint"),
        "Command": inner.texts("Command"),
        "WorkingDirectory": inner.text("WorkingDirectory"),
    }
    return {
        "PackageType": "Image",
        "ImageConfig": {name: value for name, value in config.items() if value},
    }


def _image(reading: Reading, properties: Properties, name: str) -> Source:
    """An image that is named, or one that is built as the resource's metadata say."""
    metadata = reading.metadata
    if metadata.get("Dockerfile") is None and metadata.get("DockerContext") is None:
        if not (uri := properties.text(name)):
            text = f"{name} is missing, and there are no Metadata (Dockerfile, DockerContext) to build an image by"
            raise TemplateError(text, properties.path)
        return Source((*properties.path, name), None, image=uri)
    context = metadata.text("DockerContext", ".")
    build = Build(
        repository=reading.default_name.lower(),
        tag=metadata.text("DockerTag") or "latest",
        context=context,
        dockerfile=metadata.text("Dockerfile") or "Dockerfile",
        target=metadata.text("DockerBuildTarget"),
        arguments=tuple(sorted(metadata.inner("DockerBuildArgs").pairs().items())),
    )
    return Source(metadata.path, context, build=build)


def _package(properties: Properties, name: str, bucket: str, key: str, version: str) -> Source:
    """A path, or an object in S3: as a URL, or under the names that this property gives to its parts."""
    where, value = (*properties.path, name), properties.get(name)
    if isinstance(value, Mapping):
        inner = properties.inner(name)
        found = StoredObject(inner.required(bucket), inner.required(key), inner.text(version) or None)
        return Source(where, None, object=found)
    path = properties.required(name)
    if path.startswith("s3://"):
        parts = _S3_URL.fullmatch(path)
        if parts is None:
            raise properties.wrong(name, f"{path!r} is not s3://BUCKET/KEY")
        return Source(where, None, object=StoredObject(parts["bucket"], parts["key"]))
    if "\0" in path:
        raise properties.wrong(name, "a path is wanted here")
    return Source(where, path)


_SAM_OBJECT = ("Bucket", "Key", "Version")
_LAMBDA_OBJECT = ("S3Bucket", "S3Key", "S3ObjectVersion")
"""What templates call the parts of an object's name."""


def _inline(properties: Properties, name: str, text: str) -> Source:
    """Code in the template itself becomes the file that CloudFormation makes of it."""
    runtime = properties.text("Runtime")
    for family, extension in _EXTENSIONS.items():
        if runtime.startswith(family):
            return Source((*properties.path, name), None, text, f"index.{extension}")
    raise TemplateError(
        f"code in the template is not possible with {runtime or 'no runtime'}", properties.path
    )


def serverless_layer(reading: Reading) -> LayerWanted:
    return _layer(reading, "ContentUri", _SAM_OBJECT)


def lambda_layer(reading: Reading) -> LayerWanted:
    return _layer(reading, "Content", _LAMBDA_OBJECT)


def _layer(reading: Reading, content: str, parts: tuple[str, str, str]) -> LayerWanted:
    properties = reading.properties
    details = {
        "Description": properties.text("Description"),
        "LicenseInfo": properties.text("LicenseInfo"),
        "CompatibleRuntimes": properties.texts("CompatibleRuntimes") or [],
        "CompatibleArchitectures": properties.texts("CompatibleArchitectures") or [],
    }
    name = properties.text("LayerName") or reading.default_name
    return LayerWanted(name, _package(properties, content, *parts), details)


def version(reading: Reading) -> VersionWanted:
    properties = reading.properties
    mark = f"[{reading.stack.name}/{reading.logical_id}]"
    description = f"{properties.text('Description')} {mark}".strip()
    function = _function_name(properties)
    return VersionWanted(function, description, mark, tuple(of_published(properties, function, "")))


def alias(reading: Reading) -> AliasWanted:
    properties = reading.properties
    routing = properties.inner("RoutingConfig")
    listed = routing.get("AdditionalVersionWeights") or []
    if not isinstance(listed, list) or not all(isinstance(item, Mapping) for item in listed):
        raise routing.wrong("AdditionalVersionWeights", "a list of maps is wanted here")
    function, name = _function_name(properties), properties.required("Name")
    return AliasWanted(
        function=function,
        name=name,
        version=properties.required("FunctionVersion"),
        description=properties.text("Description"),
        weights=dict(
            _weight(Properties(item, (*routing.path, "AdditionalVersionWeights", str(index))))
            for index, item in enumerate(listed)
        ),
        settings=tuple(of_published(properties, function, name)),
    )


def _weight(item: Properties) -> tuple[str, float]:
    weight = item.required("FunctionWeight")
    if not _WEIGHT.fullmatch(weight):
        raise item.wrong("FunctionWeight", f"{weight!r} is not a number from 0 to 1")
    return item.required("FunctionVersion"), float(weight)


def _function_name(properties: Properties) -> str:
    """The plain name, also where an ARN is given."""
    return function_and_qualifier(properties.required("FunctionName"))[0]
