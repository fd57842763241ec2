"""Moments and revisions in the forms that records keep."""

import uuid
from datetime import UTC, datetime


def timestamp(now: float) -> str:
    """`YYYY-MM-DDThh:mm:ss.SSS+0000`."""
    moment = datetime.fromtimestamp(now, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}+0000"


def new_revision() -> str:
    return str(uuid.uuid4())
