"""What tests of pages share."""

from collections.abc import Iterator

import pytest

from tests.helpers.browser import Page, browser


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """A browser that all tests of this file share."""
    with browser(tmp_path_factory.mktemp("profile")) as tab:
        yield tab
