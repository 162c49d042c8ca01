"""The prefixes of a range of texts hold exactly the texts of the range, except at its two ends."""

from __future__ import annotations

from hypothesis import assume, given
from hypothesis import strategies as st

from strongroom.visibility.fields import ORDERED_BYTES
from strongroom.visibility.search.text_conditions import text_cover

NEAR = st.text("ab\x00\x7f\x80éz\uffff\N{GRINNING FACE}", max_size=4)
LONG = st.builds(lambda head, tail: head + "a" * 14 + tail, st.sampled_from(["", "a", "é"]), NEAR)
TEXTS = st.one_of(NEAR, LONG, st.text(max_size=6)).map(lambda text: text.encode("utf-8", "surrogatepass"))


def parts_of(cover, text):
    """Return the parts of a cover that a text is in, and whether each is an end."""
    heads = [(head, False) for head in cover.prefixes] + [(head, True) for head in cover.ends]
    return [is_end for head, is_end in heads if text.startswith(head)] + [False] * cover.texts.count(text)


@given(low=TEXTS, high=st.one_of(st.none(), TEXTS), texts=st.lists(TEXTS, max_size=20))
def test_every_text_of_a_range_is_in_one_part_of_its_cover(low, high, texts):
    """A text outside the range is in no part but an end, and an end holds texts only that share 16 bytes with a bound."""
    assume(high is None or low < high)
    cover = text_cover(low, high)
    assert all(len(head) == ORDERED_BYTES for head in cover.ends)
    assert len(cover.ends) <= 2
    for text in (*texts, low, low + b"\0", *([] if high is None else [high, high[:-1]])):
        found = parts_of(cover, text)
        is_inside = low <= text and (high is None or text < high)
        assert len(found) <= 1
        assert found if is_inside else found in ([], [True]), text


def test_a_range_has_some_thousand_prefixes_at_most():
    """An index is asked for each of them. Bytes that UTF-8 never has after a prefix are left out."""
    cover = text_cover(b"A" * 16, b"z" * 16)
    assert len(cover.prefixes) < 4500
    usual = text_cover(b"cust-00100", b"cust-00200")
    assert len(usual.prefixes) < 500
    assert not usual.ends
