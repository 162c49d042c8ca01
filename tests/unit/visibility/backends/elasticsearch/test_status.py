from __future__ import annotations

import pytest

from strongroom.visibility.backends.elasticsearch.cluster import _status_error
from strongroom.visibility.errors import SearchIndexMismatch, SearchIndexUnavailable


@pytest.mark.parametrize("status", [501, 505])
def test_what_a_server_never_answers_is_not_tried_again(status):
    """A server that does not implement a request is named at once. The request is not repeated until its deadline."""
    error = _status_error(status, None)
    assert type(error) is SearchIndexMismatch
    assert not error.retryable
    assert "Check the URL and the version" in str(error)


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_an_outage_is_tried_again(status):
    """The control: other errors of a server may end."""
    error = _status_error(status, None)
    assert isinstance(error, SearchIndexUnavailable)
    assert error.retryable
