"""Where other services are: how it is written, and what functions are told of it."""

import botocore.session
import pytest

from runtime.neighbours import (
    IDS,
    Endpoints,
    function_variables,
    is_loopback,
    leads_to,
    parse,
    seen_from,
    variable,
)


@pytest.mark.parametrize(
    ("text", "endpoints"),
    [
        ("http://localhost:4566", Endpoints("http://localhost:4566")),
        ("https://example.com/path/", Endpoints("https://example.com/path")),
        ("s3=http://m:9000", Endpoints(None, (("s3", "http://m:9000"),))),
        (
            "http://l:4566,s3=http://m:9000,dynamodb=http://[::1]:8000",
            Endpoints("http://l:4566", (("s3", "http://m:9000"), ("dynamodb", "http://[::1]:8000"))),
        ),
    ],
)
def test_what_is_written_is_read(text: str, endpoints: Endpoints) -> None:
    """A URL, pairs, or both; and what is shown is read as the same again."""
    assert parse(text) == endpoints
    assert parse(str(endpoints)) == endpoints


@pytest.mark.parametrize(
    "text",
    [
        "",
        "localhost:4566",
        "ftp://a",
        "http://",
        "http://user:secret@host",
        "http://a?b=c",
        "http://a#b",
        "http://a:port",
        "http://a:99999",
        "http://a b",
        "http://a,http://b",
        "s3=http://a,s3=http://b",
        "S3=http://a",
        "s3=",
        "s3",
    ],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    """Names without addresses, two of one kind, and URLs that carry a secret or a query."""
    with pytest.raises(ValueError):  # noqa: PT011  whichever part is wrong
        parse(text)


def test_a_service_without_an_address_of_its_own_has_the_general_one() -> None:
    """Without either it is where AWS has it."""
    endpoints = parse("http://all,s3=http://s3")
    assert (endpoints.of("s3"), endpoints.of("sqs")) == ("http://s3", "http://all")
    assert parse("s3=http://s3").of("sqs") is None


def test_functions_are_told_by_the_variables_of_sdks() -> None:
    """Loopback becomes this machine as functions see it; other addresses stay."""
    endpoints = parse("http://localhost:4566,s3=http://minio:9000,events=https://127.0.0.1")
    assert function_variables(endpoints, "172.18.0.1", "http://172.18.0.1:5") == {
        "AWS_ENDPOINT_URL": "http://172.18.0.1:4566",
        "AWS_ENDPOINT_URL_EVENTBRIDGE": "https://172.18.0.1:443",
        "AWS_ENDPOINT_URL_LAMBDA": "http://172.18.0.1:5",
        "AWS_ENDPOINT_URL_S3": "http://minio:9000",
    }


def test_berth_is_sts_where_nobody_else_is() -> None:
    """Its credentials mean nothing to AWS's STS; who names another one knows more of it."""
    own = "http://172.18.0.1:5"
    assert function_variables(parse("s3=http://minio:9000"), "h", own) == {
        "AWS_ENDPOINT_URL_LAMBDA": own,
        "AWS_ENDPOINT_URL_S3": "http://minio:9000",
        "AWS_ENDPOINT_URL_STS": own,
    }
    assert function_variables(parse("sts=http://iam:9"), "h", own)["AWS_ENDPOINT_URL_STS"] == "http://iam:9"


def test_functions_that_may_not_call_are_told_nothing_of_berth() -> None:
    """Without a door and without endpoints there are no variables."""
    assert function_variables(None, "h", None) == {}


def test_another_lambda_is_taken_where_it_is_named() -> None:
    """Whoever names one for functions has a reason."""
    found = function_variables(parse("lambda=http://other:1"), "h", "http://h:5")
    assert found == {"AWS_ENDPOINT_URL_LAMBDA": "http://other:1", "AWS_ENDPOINT_URL_STS": "http://h:5"}


@pytest.mark.parametrize("service", [*IDS, "s3", "sqs", "sns", "dynamodb", "kinesis", "sts", "kms", "ssm"])
def test_variables_are_spelled_as_sdks_read_them(service: str) -> None:
    """The SDK makes a variable's end of the service's id."""
    wanted = botocore.session.get_session().get_service_model(service).service_id.replace(" ", "_").upper()
    assert variable(service) == f"AWS_ENDPOINT_URL_{wanted}"


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("localhost", True),
        ("s3.localhost", True),
        ("127.8.0.1", True),
        ("::1", True),
        ("0.0.0.0", True),
        ("172.17.0.1", False),
        ("localhost.example.com", False),
    ],
)
def test_loopback_is_known_by_name_and_address(host: str, loopback: bool) -> None:
    """Whatever means the machine that says it."""
    assert is_loopback(host) is loopback


def test_a_path_and_an_ipv6_host_survive_the_change_of_view() -> None:
    """Only the host is another one, and the port is written out."""
    assert seen_from("fd00::1", "http://localhost/base") == "http://[fd00::1]:80/base"


def test_an_address_is_known_as_ones_own() -> None:
    """By any name of loopback, or by the name it is served under."""
    assert leads_to("http://localhost:3001", "10.0.0.1", 3001)
    assert leads_to("http://10.0.0.1:3001", "10.0.0.1", 3001)
    assert not leads_to("http://localhost:4566", "127.0.0.1", 3001)
    assert not leads_to("http://10.0.0.2:3001", "127.0.0.1", 3001)
