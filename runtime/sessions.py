"""Sandboxes that live, and the sessions of their functions' roles: who a function is when it calls Berth.

A session is what an execution role's would be: an access key, a secret and a token, made anew for each environment. The
token is what proves it: SDKs send it with each request, nobody else knows it, and it ends with the sandbox.
What a function may do is not known here.
"""

import hmac
from dataclasses import dataclass

from runtime.briefing import session_credentials
from runtime.model import Scope
from runtime.spawners.network import bindable
from runtime.variables import Credentials


@dataclass(frozen=True, slots=True)
class Session:
    """What a sandbox's function calls with."""

    sandbox_id: str
    scope: Scope
    """The function's account and region."""
    peer: str
    """The address that the sandbox speaks from."""
    is_told_apart: bool
    """Whether nobody but sandboxes speaks from there: it is no address of this machine."""
    credentials: Credentials


class Sessions:
    """All that live now."""

    def __init__(self) -> None:
        self._by_key: dict[str, Session] = {}
        self._by_sandbox: dict[str, Session] = {}
        self._by_peer: dict[str, set[str]] = {}
        #: The sandboxes at each address: one, unless something translates addresses.

    def __repr__(self) -> str:
        return f"<Sessions [{len(self._by_key)} sandboxes]>"

    def begin(self, sandbox_id: str, scope: Scope, peer: str) -> Credentials:
        """A session for a sandbox that has come up."""
        credentials = session_credentials()
        session = Session(sandbox_id, scope, peer, bool(peer) and not bindable(peer), credentials)
        self._by_sandbox[sandbox_id] = self._by_key[credentials.access_key_id] = session
        self._by_peer.setdefault(peer, set()).add(sandbox_id)
        return credentials

    def end(self, sandbox_id: str) -> str | None:
        """The sandbox is gone. Its address, if no other one speaks from there."""
        session = self._by_sandbox.pop(sandbox_id, None)
        if session is None:
            return None
        del self._by_key[session.credentials.access_key_id]
        others = self._by_peer[session.peer]
        others.discard(sandbox_id)
        if others:
            return None
        del self._by_peer[session.peer]
        return session.peer

    def proven(self, access_key_id: str, token: str) -> Session | None:
        """The session of this key, if it is still there and the token is its own."""
        session = self._by_key.get(access_key_id)
        if session is None:
            return None
        known = session.credentials.session_token
        return session if hmac.compare_digest(known.encode(), token.encode("utf-8", "replace")) else None

    def account_of(self, access_key_id: str) -> str | None:
        session = self._by_key.get(access_key_id)
        return None if session is None else session.scope.account

    def at(self, peer: str) -> int:
        """How many sandboxes speak from an address."""
        return len(self._by_peer.get(peer, ()))

    def sandbox_at(self, peer: str) -> str | None:
        """The sandbox behind an address, or one of them; None where it may as well be somebody else."""
        found = next(iter(self._by_peer.get(peer, ())), None)
        return found if found is not None and self._by_sandbox[found].is_told_apart else None
