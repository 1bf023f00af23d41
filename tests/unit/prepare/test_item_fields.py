"""Values of an item as shops write them."""

import pytest

from recbole_hm4sr.prepare.tables.item_fields import clean_price, clean_text


@pytest.mark.parametrize(
    ("text", "price"),
    [
        ("$12.99", 12.99),
        ("$1,299.00", 1299.0),
        ("$1,299.00 - $1,500.00", 1299.0),
        ("from 14.99", 14.99),
        ("12,50", 12.5),
        ("1.299,50 €", 1299.5),
        ("1\u202f299,50 €", 1299.5),
        ("CHF 1'299.50", 1299.5),
        ("1.234.567,89", 1234567.89),
        ("1,299", 1299.0),
        ("0,299", 0.299),
        ("1.299", 1.299),
        ("None", None),
        ("", None),
        ("—", None),
    ],
)
def test_a_price_is_read_in_either_spelling(text, price):
    faults = []
    assert clean_price(text, faults.append) == price
    assert faults == []


@pytest.mark.parametrize("text", ["1,2,3", "1.2.3", "1.5,5", "1234.567,00", "1,23,456.00", "cheap"])
def test_a_price_that_can_be_read_in_no_spelling_is_counted_and_never_cut(text):
    faults = []
    assert clean_price(text, faults.append) is None
    assert faults == ["price is no number"]


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("Salt <b>&amp;amp;</b>\n pepper<br/>", "Salt & pepper"),
        ("</span></span></span>", ""),
        ("&lt;3 you", "<3 you"),
        ("3 < 4 > 2", "3 < 4 > 2"),
        (7, "7"),
        (["a"], ""),
    ],
)
def test_text_has_neither_tags_nor_entities(raw, clean):
    assert clean_text(raw) == clean
