"""The contract's assertions show what they compared, though they live in the library."""

import pytest

pytest.register_assert_rewrite("refold.testing.sink_contract")
