"""The demo is what the README promises."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.docker
def test_the_demo_carries_out_the_exercise() -> None:
    """It exits with 0, shows two versions of the layer, and leaves nothing in the folder."""
    done = subprocess.run(
        ["make", "demo"],
        check=False,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
        env={key: value for key, value in os.environ.items() if not key.startswith("AWS_")},
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "requests 2.31.0 from version 2" in done.stdout
    assert '"layer_test\\": \\"PASSED\\"' in done.stdout.replace('\\\\"', '\\"')
    assert "END RequestId" in done.stdout
    assert "\x1b" not in done.stdout, "what is piped is to be copied"
    assert not (ROOT / ".demo").exists()
