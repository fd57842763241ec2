"""Links to packages, as GetFunction and GetLayerVersion hand them out: `/_berth/code/<digest>?token=…`.

A link is an HMAC of the digest under a secret of this process, so it cannot be guessed and, like AWS's presigned
ones, it expires: with the process.
"""

import hashlib
import hmac
import secrets

from aiohttp import web

from runtime.store import BlobStore

PREFIX = "/_berth/code/"


class CodeLinks:
    """Makes links and serves what they lead to."""

    def __init__(self, blobs: BlobStore) -> None:
        self._blobs = blobs
        self._secret = secrets.token_bytes(32)

    def url(self, base_url: str, digest: str) -> str:
        return f"{base_url}{PREFIX}{digest}?token={self._token(digest)}"

    def serve(self, request: web.BaseRequest) -> web.StreamResponse:
        """The package behind a link, or 403: a wrong token does not tell whether the digest exists."""
        digest = request.path.removeprefix(PREFIX)
        token = request.query.get("token", "")
        if not hmac.compare_digest(token.encode("utf-8", "replace"), self._token(digest).encode()):
            return web.json_response({"message": "The link has expired: ask for a new one."}, status=403)
        path = self._blobs.path(digest)
        return (
            web.FileResponse(path, headers={"Content-Type": "application/zip"}) if path.exists() else _gone()
        )

    def _token(self, digest: str) -> str:
        return hmac.new(self._secret, digest.encode("utf-8", "replace"), hashlib.sha256).hexdigest()


def _gone() -> web.Response:
    return web.json_response({"message": "The package is no longer stored."}, status=404)
