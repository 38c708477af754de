"""Fixtures for all tests."""

import os
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is loaded: tests run in a process a core, and start others

import pytest
from hypothesis import settings
from small_world import make_shapes


@pytest.fixture(scope="session")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_shapes(tmp_path_factory.mktemp("shapes") / "shapes")


settings.register_profile("busy machine", deadline=None)
settings.load_profile("busy machine")
