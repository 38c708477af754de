"""The same decisions, scores and pixels as version 0.2."""

from pathlib import Path

import pytest
from golden.engine import play
from golden.recordings import FOLDER, SCENARIOS, differences, recorded
from golden.scenario import Scenario

each = pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)


@each
def test_the_recording_is_of_the_path_that_is_meant(scenario: Scenario):
    scenario.reaches(recorded(scenario))


@each
def test_decisions_scores_and_pixels_are_those_of_0_2(scenario: Scenario, tmp_path: Path):
    assert not differences(recorded(scenario), play(scenario, tmp_path))


def test_there_is_one_recording_for_each_scenario():
    assert sorted(path.name for path in FOLDER.iterdir()) == sorted(f"{one.name}.json.gz" for one in SCENARIOS)
