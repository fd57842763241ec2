from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from types import MappingProxyType
from typing import Any, get_type_hints

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.model import (
    Alias,
    Attachment,
    Code,
    FunctionConfig,
    FunctionVersion,
    ImageCode,
    ImageConfig,
    LayerReference,
    LayerVersion,
    LoggingConfig,
    Scope,
    State,
    UpdateStatus,
)
from runtime.store import codec, sealing
from runtime.store.errors import RecordUnreadable

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
number = st.integers(0, 2**63 - 1)
maybe_text = st.none() | text
json_values = st.recursive(
    st.none() | st.booleans() | number | st.floats(allow_nan=False, allow_infinity=False) | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=6,
)
scopes = st.builds(Scope, account=text, region=text)
codes = st.builds(Code, digest=text, size=number, unzipped_size=number)
images = st.builds(ImageCode, uri=text, digest=text, image=text)
arguments = st.none() | st.lists(text, max_size=3).map(tuple)
configs = st.builds(
    FunctionConfig,
    role=text,
    runtime=maybe_text,
    handler=maybe_text,
    description=text,
    timeout=number,
    memory_size=number,
    ephemeral_storage=number,
    environment=st.none() | st.dictionaries(text, text, max_size=3),
    layers=st.lists(st.builds(LayerReference, arn=text, code=codes), max_size=3).map(tuple),
    architecture=text,
    package_type=text,
    image_config=st.none()
    | st.builds(ImageConfig, entry_point=arguments, command=arguments, working_directory=maybe_text),
    tracing_mode=text,
    logging=st.builds(
        LoggingConfig,
        log_format=text,
        application_log_level=maybe_text,
        system_log_level=maybe_text,
        log_group=maybe_text,
    ),
    declared=st.dictionaries(text, json_values, max_size=3),
)
functions = st.builds(
    FunctionVersion,
    scope=scopes,
    name=text,
    version=text,
    config=configs,
    code=codes | images,
    revision_id=text,
    last_modified=text,
    state=st.sampled_from(State),
    state_reason=maybe_text,
    state_reason_code=maybe_text,
    last_update_status=st.none() | st.sampled_from(UpdateStatus),
    last_update_status_reason=maybe_text,
    last_update_status_reason_code=maybe_text,
    tags=st.dictionaries(text, text, max_size=3),
    source_description=text,
)
aliases = st.builds(
    Alias,
    scope=scopes,
    function=text,
    name=text,
    version=text,
    description=text,
    weights=st.dictionaries(text, st.floats(0, 1), max_size=1),
    environment=st.none() | st.dictionaries(text, text, max_size=3),
    revision_id=text,
)
layer_versions = st.builds(
    LayerVersion,
    scope=scopes,
    name=text,
    number=number,
    code=codes,
    created=text,
    description=text,
    license_info=maybe_text,
    compatible_runtimes=st.none() | st.lists(text, max_size=3).map(tuple),
    compatible_architectures=st.none() | st.lists(text, max_size=2).map(tuple),
)

documents = st.dictionaries(text, json_values, max_size=3)
OF_TYPE: dict[Any, st.SearchStrategy[Any]] = {
    str: text,
    int: number,
    bool: st.booleans(),
    float: st.floats(allow_nan=False, allow_infinity=False),
    str | None: maybe_text,
    int | None: st.none() | number,
    Scope: scopes,
    Mapping[str, str]: st.dictionaries(text, text, max_size=3),
    Mapping[str, Any]: documents,
    Mapping[str, Any] | None: st.none() | documents,
    tuple[str, ...]: st.lists(text, max_size=3).map(tuple),
    tuple[Mapping[str, Any], ...]: st.lists(documents, max_size=3).map(tuple),
}


def attachments_of(kind: type[Attachment]) -> st.SearchStrategy[Attachment]:
    hints = get_type_hints(kind)
    return st.builds(kind, **{member.name: OF_TYPE[hints[member.name]] for member in fields(kind)})


attachments = st.sampled_from(list(codec.ATTACHMENTS.values())).flatmap(attachments_of)

SAMPLE = FunctionVersion(
    scope=Scope("123456789012", "us-east-1"),
    name="f",
    config=FunctionConfig(role="arn:aws:iam::123456789012:role/r"),
    code=Code("0" * 64, 1, 1),
    revision_id="r",
    last_modified="2024-01-01T00:00:00.000+0000",
)


class Drawer:
    """A vault that anyone can open, but not on behalf of another record."""

    is_changing = False

    def is_sealed_anew(self, sealed: str) -> bool:
        return sealed.startswith("sealed ")

    def seal(self, value: bytes, context: bytes) -> str:
        return f"sealed {context.decode()}{value.decode()}"

    def open(self, sealed: str, context: bytes) -> bytes:
        prefix = f"sealed {context.decode()}"
        if not sealed.startswith(prefix):
            raise ValueError("another record's")
        return sealed.removeprefix(prefix).encode()


VAULT: Any = Drawer()
SECRET = replace(SAMPLE, config=replace(SAMPLE.config, environment={"PASSWORD": "hush"}))


def edited(edit: Callable[[dict[str, Any]], object]) -> str:
    """The sample's document after an edit."""
    document = orjson.loads(codec.encode(SAMPLE))
    edit(document)
    return orjson.dumps(document).decode()


@settings(max_examples=200)
@given(functions)
def test_function_round_trip(record: FunctionVersion) -> None:
    """Every member of a function version comes back as it was."""
    assert codec.decode_function(codec.encode(record, VAULT), VAULT) == record


@settings(max_examples=300)
@given(attachments)
def test_attachment_round_trip(record: Attachment) -> None:
    """Every member of every kind of attachment comes back as it was."""
    assert codec.decode_attachment(codec.kind_name(type(record)), codec.encode(record)) == record


def test_every_kind_of_attachment_is_known() -> None:
    """None can be made that could not be stored."""
    stored = {kind.__name__ for kind in codec.ATTACHMENTS.values()}
    assert stored == {kind.__name__ for kind in Attachment.__subclasses__()}


@given(aliases)
def test_alias_round_trip(record: Alias) -> None:
    """Every member of an alias comes back as it was, weights to the last digit."""
    assert codec.decode_alias(codec.encode(record, VAULT), VAULT) == record


@given(layer_versions)
def test_layer_version_round_trip(record: LayerVersion) -> None:
    """Every member of a layer version comes back as it was."""
    assert codec.decode_layer_version(codec.encode(record)) == record


def test_types_come_back() -> None:
    """States are enum members again, sequences tuples."""
    decoded = codec.decode_function(codec.encode(SAMPLE))
    assert decoded.state is State.PENDING
    assert isinstance(decoded.config.layers, tuple)


def test_any_mapping_is_written() -> None:
    """A read-only mapping is stored like a dictionary."""
    record = FunctionVersion(
        scope=SAMPLE.scope,
        name="f",
        config=SAMPLE.config,
        code=SAMPLE.code,
        revision_id="r",
        last_modified="",
        tags=MappingProxyType({"a": "b"}),
    )
    assert codec.decode_function(codec.encode(record)).tags == {"a": "b"}


def test_what_has_no_json_form_is_refused() -> None:
    """A value that JSON cannot hold is an error when it is written, not when it is read."""
    config = FunctionConfig(role="r", declared={"x": object()})
    record = FunctionVersion(
        scope=SAMPLE.scope, name="f", config=config, code=SAMPLE.code, revision_id="r", last_modified=""
    )
    with pytest.raises(TypeError):
        codec.encode(record)


def test_member_with_default_may_be_missing() -> None:
    """A document from before a member existed is read with the member's default."""
    document = edited(lambda d: d["record"]["config"].pop("tracing_mode"))
    assert codec.decode_function(document) == SAMPLE


@pytest.mark.parametrize(
    "edit",
    [
        pytest.param(lambda d: d.update(format=codec.FORMAT + 1), id="newer format"),
        pytest.param(lambda d: d.pop("format"), id="no format"),
        pytest.param(lambda d: d["record"].update(colour="red"), id="unknown member"),
        pytest.param(lambda d: d["record"]["config"].update(colour="red"), id="unknown inner member"),
        pytest.param(lambda d: d["record"].pop("name"), id="missing member"),
        pytest.param(lambda d: d["record"].update(name=None), id="null name"),
        pytest.param(lambda d: d["record"].update(state="Sleepy"), id="unknown state"),
        pytest.param(lambda d: d["record"]["config"].update(timeout="3"), id="text for number"),
        pytest.param(lambda d: d["record"]["config"].update(timeout=True), id="boolean for number"),
        pytest.param(lambda d: d["record"].update(tags={"a": 1}), id="number among tags"),
        pytest.param(lambda d: d["record"].update(code=[]), id="list for record"),
        pytest.param(lambda d: d["record"]["code"].update(uri="app"), id="members of two kinds of records"),
        pytest.param(lambda d: d["record"]["code"].pop("size"), id="no kind of record"),
    ],
)
def test_strict(edit: Callable[[dict[str, Any]], object]) -> None:
    """A document that this program would not write is refused."""
    with pytest.raises(RecordUnreadable):
        codec.decode_function(edited(edit))


@pytest.mark.parametrize("document", ["", "{", "[]", "null", '"text"'])
def test_no_document(document: str) -> None:
    """What is no document at all is refused in the same way."""
    with pytest.raises(RecordUnreadable):
        codec.decode_function(document)


def plain(record: FunctionVersion) -> str:
    """As earlier releases wrote it."""
    return orjson.dumps({"format": codec.FORMAT, "record": record}).decode()


def test_variables_are_sealed_and_nothing_else() -> None:
    """The document is the same but for one member; a function without variables has nothing to seal."""
    document, before = orjson.loads(codec.encode(SECRET, VAULT)), orjson.loads(plain(SECRET))
    assert document["record"]["config"].pop("environment").startswith("sealed ")
    assert before["record"]["config"].pop("environment") == {"PASSWORD": "hush"}
    assert document == before
    assert codec.encode(SAMPLE) == plain(SAMPLE)


def test_variables_of_aliases_are_sealed() -> None:
    """They belong to their alias, and to no other of the same name."""
    alias = Alias(
        scope=SAMPLE.scope, function="f", name="a", version="1", environment={"A": "hush"}, revision_id=""
    )
    document = codec.encode(alias, VAULT)
    assert orjson.loads(document)["record"]["environment"].startswith("sealed ")
    assert codec.decode_alias(document, VAULT) == alias
    moved = orjson.loads(document)
    moved["record"]["function"] = "g"
    with pytest.raises(RecordUnreadable, match="another record's"):
        codec.decode_alias(orjson.dumps(moved).decode(), VAULT)


def test_variables_that_lie_open_are_read_and_told() -> None:
    """Documents of earlier releases; once written again they are sealed."""
    assert codec.decode_function(plain(SECRET)) == SECRET
    assert sealing.is_outdated(FunctionVersion, plain(SECRET), VAULT)
    assert not sealing.is_outdated(FunctionVersion, codec.encode(SECRET, VAULT), VAULT)
    assert not sealing.is_outdated(FunctionVersion, plain(SAMPLE), VAULT)
    assert not sealing.is_outdated(LayerVersion, "{}", VAULT)


def test_variables_do_not_move_to_another_record() -> None:
    """Neither to another function, version, account nor region."""
    for stranger in (
        replace(SECRET, name="g"),
        replace(SECRET, version="1"),
        replace(SECRET, scope=Scope("111122223333", "us-east-1")),
    ):
        document = orjson.loads(codec.encode(stranger, VAULT))
        own = orjson.loads(codec.encode(SECRET, VAULT))
        document["record"]["config"]["environment"] = own["record"]["config"]["environment"]
        with pytest.raises(RecordUnreadable, match="another record's"):
            codec.decode_function(orjson.dumps(document).decode(), VAULT)


def test_variables_need_a_vault() -> None:
    """Forgetting it stores nothing in the open, and reads nothing as empty."""
    with pytest.raises(TypeError, match="without a vault"):
        codec.encode(SECRET)
    with pytest.raises(RecordUnreadable, match="without a vault"):
        codec.decode_function(codec.encode(SECRET, VAULT))
