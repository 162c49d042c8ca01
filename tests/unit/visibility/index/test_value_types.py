"""A value of a wrong type is refused, and the error names the type of Python that is wanted."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from strongroom.visibility import VisibilityRecord
from strongroom.visibility.attributes import AttributeType
from strongroom.visibility.errors import InvalidRecord
from strongroom.visibility.index.document import check_record

WRONG = {
    AttributeType.KEYWORD: (3, "a str"),
    AttributeType.KEYWORD_LIST: (["gift"], "a tuple of str"),
    AttributeType.TEXT: (("a",), "a str"),
    AttributeType.INT: (2.5, "an int"),
    AttributeType.DOUBLE: ("2.5", "a finite float or an int"),
    AttributeType.BOOL: (1, "a bool"),
    AttributeType.DATETIME: (datetime(2026, 12, 1, tzinfo=UTC), "an int of nanoseconds since 1970"),
}


@pytest.mark.parametrize("attribute_type", AttributeType)
def test_the_wanted_type_is_named(attribute_type):
    """The name of a type in Temporal does not say what to pass, for example for a KeywordList or a Datetime."""
    value, wanted = WRONG[attribute_type]
    record = VisibilityRecord("w", "r", "T", "Running", "q", 1, 1, search_attributes={"A": value})
    with pytest.raises(InvalidRecord, match=f"is not a {attribute_type.value}, which is {wanted} in Python"):
        check_record(record, {"A": attribute_type})
