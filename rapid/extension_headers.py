"""Headers of extensions' requests, which the Extensions API and the Telemetry API read alike."""

import re

from aiohttp import web

from rapid import errors
from rapid.extensions import ExtensionRefused
from rapid.plain_text import plain

IDENTIFIER_HEADER = "Lambda-Extension-Identifier"

_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


def header(request: web.BaseRequest, name: str) -> str:
    """A header as text that can go anywhere: into a log line, a document, another header."""
    return plain(request.headers.get(name, ""))


def identifier_of(request: web.BaseRequest) -> str:
    """Who calls. Raises `ExtensionRefused` where the header is missing or is no identifier at all."""
    identifier = header(request, IDENTIFIER_HEADER)
    if not identifier:
        raise ExtensionRefused(errors.MISSING_IDENTIFIER)
    if not _UUID.fullmatch(identifier):
        raise ExtensionRefused(errors.INVALID_IDENTIFIER)
    return identifier.lower()
