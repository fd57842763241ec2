"""What the REST door's answers have in common."""

import uuid

from runtime.api.answers import new_request_id


def test_request_ids() -> None:
    """Random UUIDs of version 4, none twice."""
    made = [new_request_id() for _ in range(1000)]
    read = [uuid.UUID(each) for each in made]
    assert [str(each) for each in read] == made
    assert {(each.version, each.variant) for each in read} == {(4, uuid.RFC_4122)}
    assert len(set(made)) == len(made)
