"""Moments and revisions in the forms that records keep."""

import uuid
from datetime import UTC, datetime


def timestamp(now: float) -> str:
    """`YYYY-MM-DDThh:mm:ss.SSS+0000`."""
    return f"{_milliseconds(now)}+0000"


def iso_timestamp(now: float) -> str:
    """`YYYY-MM-DDThh:mm:ss.SSSZ`."""
    return f"{_milliseconds(now)}Z"


def _milliseconds(now: float) -> str:
    moment = datetime.fromtimestamp(now, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}"


def new_revision() -> str:
    return str(uuid.uuid4())
