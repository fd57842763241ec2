"""SnapStart with the real client: hooks run around a snapshot that a published version is said to start from."""

from typing import Any

CODE = """
import json, os, urllib.request
from snapshot_restore_py import register_after_restore, register_before_snapshot

steps = ["static"]

@register_before_snapshot
def before():
    steps.append("before")

@register_after_restore
def after():
    steps.append("after")

def credentials():
    if "AWS_CONTAINER_CREDENTIALS_FULL_URI" not in os.environ:
        return None
    request = urllib.request.Request(
        os.environ["AWS_CONTAINER_CREDENTIALS_FULL_URI"],
        headers={"Authorization": os.environ["AWS_CONTAINER_AUTHORIZATION_TOKEN"]},
    )
    return sorted(json.load(urllib.request.urlopen(request)))

def handler(event, context):
    return {
        "steps": steps,
        "type": os.environ["AWS_LAMBDA_INITIALIZATION_TYPE"],
        "inherited": "AWS_ACCESS_KEY_ID" in os.environ,
        "fetched": credentials(),
    }
"""


def test_a_published_version(berth: Any, name: str) -> None:
    """
    1. A function that asks for SnapStart is published; `$LATEST` and version 1 are invoked, the version twice.
    Result: only the version runs its hooks, fetches its credentials, and has RESTORE lines and durations in its log.
    """
    berth.deploy(name, CODE, SnapStart={"ApplyOn": "PublishedVersions"})
    assert berth.client.publish_version(FunctionName=name)["Version"] == "1"

    latest = berth.invoke(name)
    assert latest.payload == {"steps": ["static"], "type": "on-demand", "inherited": True, "fetched": None}
    first = berth.invoke(f"{name}:1")
    assert first.payload == {
        "steps": ["static", "before", "after"],
        "type": "snap-start",
        "inherited": False,
        "fetched": ["AccessKeyId", "Expiration", "SecretAccessKey", "Token"],
    }
    assert "\tRestore Duration: " in first.log
    assert "\tInit Duration: " not in first.log
    again = berth.invoke(f"{name}:1")
    assert again.payload == first.payload
    assert "Restore Duration" not in again.log
