"""Benchmarks may take hours: the limit at which a test that hangs is ended is not for them."""

import faulthandler

import pytest


@pytest.fixture(autouse=True)
def unlimited() -> None:
    """Takes back the limit that pytest has set for the test."""
    faulthandler.cancel_dump_traceback_later()
