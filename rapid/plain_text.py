"""Text from inside a sandbox, made such that it can go anywhere: a log line, a document, a header. Pure."""

import re

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_SURROGATE = re.compile(r"[\ud800-\udfff]")


def plain(text: str) -> str:
    """Without line ends and other control characters, and without what UTF-8 cannot say: a header's bytes may be any."""
    return _SURROGATE.sub("\ufffd", _CONTROL.sub(" ", text))
