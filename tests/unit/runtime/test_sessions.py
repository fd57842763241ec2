"""Who a function is when it calls, and whose address is a sandbox's."""

from runtime.model import Scope
from runtime.sessions import Sessions

SCOPE = Scope("111122223333", "eu-west-1")
FAR = "192.0.2.7"
"""An address that this machine does not have."""


def test_a_session_is_proven_by_its_token_while_its_sandbox_lives() -> None:
    """Another token, another key, or a sandbox that has ended: nobody."""
    sessions = Sessions()
    mine, other = sessions.begin("a", SCOPE, FAR), sessions.begin("b", SCOPE, FAR)
    found = sessions.proven(mine.access_key_id, mine.session_token)
    assert found is not None
    assert (found.sandbox_id, found.scope) == ("a", SCOPE)
    assert sessions.proven(mine.access_key_id, other.session_token) is None
    assert sessions.proven(mine.access_key_id, "") is None
    assert sessions.proven(mine.access_key_id, "\ud800") is None
    assert sessions.proven("ASIA", mine.session_token) is None
    sessions.end("a")
    assert sessions.proven(mine.access_key_id, mine.session_token) is None
    assert sessions.account_of(mine.access_key_id) is None
    assert sessions.account_of(other.access_key_id) == SCOPE.account


def test_an_address_is_free_when_its_last_sandbox_has_ended() -> None:
    """Sandboxes may share one where something translates addresses."""
    sessions = Sessions()
    sessions.begin("a", SCOPE, FAR)
    sessions.begin("b", SCOPE, FAR)
    assert sessions.at(FAR) == 2
    assert sessions.end("a") is None
    assert sessions.end("b") == FAR
    assert sessions.end("b") is None
    assert (sessions.at(FAR), sessions.sandbox_at(FAR)) == (0, None)


def test_only_an_address_that_is_not_this_machines_tells_a_sandbox() -> None:
    """Who speaks from loopback may be anybody."""
    sessions = Sessions()
    sessions.begin("a", SCOPE, FAR)
    sessions.begin("b", SCOPE, "127.0.0.1")
    sessions.begin("c", SCOPE, "")
    assert sessions.sandbox_at(FAR) == "a"
    assert sessions.sandbox_at("127.0.0.1") is None
    assert sessions.sandbox_at("") is None
    assert sessions.sandbox_at("192.0.2.8") is None


def test_credentials_are_each_sandboxes_own() -> None:
    """A key is never given twice."""
    sessions = Sessions()
    made = [sessions.begin(str(number), SCOPE, FAR) for number in range(50)]
    assert len({each.access_key_id for each in made}) == len({each.session_token for each in made}) == 50
    assert all(each.access_key_id.startswith("ASIA") for each in made)
