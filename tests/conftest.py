"""Fixtures for all tests."""

from pathlib import Path

import pytest
from hypothesis import settings
from small_world import make_shapes


@pytest.fixture(scope="session")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_shapes(tmp_path_factory.mktemp("shapes") / "shapes")


settings.register_profile("busy machine", deadline=None)
settings.load_profile("busy machine")
