"""The breaks that are made on purpose can be made in today's code; `python -m tests.faults.mutations` makes them."""

from __future__ import annotations

import pytest

from tests.faults.mutations import BEGIN, END, MUTATIONS, PAGE, ROOT, Mutation


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_each_break_can_be_made(mutation: Mutation):
    text = (ROOT / mutation.file).read_text()
    assert mutation.made_in(text) != text
    for test in mutation.tests:
        assert (ROOT / test.partition("::")[0]).exists()


def test_the_page_lists_each_break_and_none_went_unnoticed():
    table = PAGE.read_text().partition(BEGIN)[2].partition(END)[0].strip().splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table[2:]]
    assert [name for name, _ in rows] == [mutation.name for mutation in MUTATIONS]
    assert [name for name, test in rows if test == "`not noticed`"] == []
