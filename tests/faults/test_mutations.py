"""The breaks that are made on purpose can be made in today's code; `python -m tests.faults.mutations` makes them."""

from __future__ import annotations

import pytest

from tests.faults.mutations import MUTATIONS, ROOT, Mutation


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_each_break_can_be_made(mutation: Mutation):
    text = (ROOT / mutation.file).read_text()
    assert mutation.made_in(text) != text
    for test in mutation.tests:
        assert (ROOT / test.partition("::")[0]).exists()
