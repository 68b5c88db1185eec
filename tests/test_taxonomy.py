"""The taxonomy says what a method may call itself."""

from __future__ import annotations

import pytest

from sslzoo.taxonomy import CONTRACT, FAMILIES, MethodInfo, Paper

PAPER = Paper("A", "B", "C", 2020, "https://example.org")


def info(**fields: object) -> MethodInfo:
    given = {
        "name": "x",
        "category": "context",
        "family": "jigsaw",
        "modalities": ("image",),
        "paper": PAPER,
        "summary": "",
    }
    return MethodInfo(**{**given, **fields})  # type: ignore[arg-type]


def test_the_four_categories_of_the_survey_and_multiple_exist() -> None:
    assert set(FAMILIES) == {"generation", "context", "free_label", "cross_modal", "multiple"}


def test_no_family_lies_in_two_categories() -> None:
    families = [family for families in FAMILIES.values() for family in families]
    assert len(families) == len(set(families))


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("category", "contrast", "no category"),
        ("family", "inpainting", "no family"),
        ("modalities", ("smell",), "modalities"),
    ],
)
def test_a_word_outside_the_taxonomy_is_refused_with_the_words_that_exist(field: str, value: object, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        info(**{field: value})


def test_a_method_that_says_nothing_of_its_contract_is_of_the_first() -> None:
    assert info().contract == 1 <= CONTRACT
