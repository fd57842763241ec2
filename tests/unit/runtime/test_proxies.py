import os

import pytest

from runtime import proxies


def test_builds_are_told_what_they_can_reach() -> None:
    """Names in either case; no proxy of this machine's own, and nothing else of the environment."""
    environ = {
        "HTTP_PROXY": "http://proxy.example:3128",
        "https_proxy": "proxy.example:3128",
        "all_proxy": "http://127.0.0.1:8080",
        "ftp_proxy": "localhost:8080",
        "no_proxy": "localhost,127.0.0.1",
        "HTTPS_PROXY": "",
        "PATH": "/bin",
    }
    assert proxies.for_builds(environ) == {
        name: environ[name] for name in ("HTTP_PROXY", "https_proxy", "no_proxy")
    }


@pytest.mark.parametrize(
    ("environ", "needed"),
    [
        ({}, None),
        ({"https_proxy": "http://proxy.example"}, None),
        ({"HTTP_PROXY": "http://proxy.example"}, "127.0.0.1"),
        ({"all_proxy": "http://proxy.example", "no_proxy": "example.com"}, "example.com,127.0.0.1"),
        ({"http_proxy": "http://proxy.example", "no_proxy": "example.com,127.0.0.1"}, None),
        ({"http_proxy": "http://proxy.example", "NO_PROXY": "*"}, None),
    ],
)
def test_clients_would_ask_a_proxy_for_this_machine_too(
    monkeypatch: pytest.MonkeyPatch, environ: dict[str, str], needed: str | None
) -> None:
    """Unless it is excepted, in addition to what is."""
    for name in set(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    assert proxies.exceptions_for("127.0.0.1") == needed
