"""The same decisions, scores and pixels as were recorded."""

from operator import attrgetter
from pathlib import Path

import pytest
from golden import scenarios_files, scenarios_paper
from golden.engine import play
from golden.recordings import FOLDER, SCENARIOS, differences, recorded
from golden.scenario import Scenario

FILES = {scenario.name for scenario in (*scenarios_files.ALL, *scenarios_paper.ALL)}
"""About input and output rather than detection."""

played = [pytest.param(each, marks=pytest.mark.slow if each.name in FILES else ()) for each in SCENARIOS]


@pytest.mark.parametrize("scenario", SCENARIOS, ids=attrgetter("name"))
def test_the_recording_is_of_the_path_that_is_meant(scenario: Scenario):
    scenario.reaches(recorded(scenario))


@pytest.mark.parametrize("scenario", played, ids=attrgetter("name"))
def test_decisions_scores_and_pixels_are_those_recorded(scenario: Scenario, tmp_path: Path):
    assert not differences(recorded(scenario), play(scenario, tmp_path))


def test_there_is_one_recording_for_each_scenario():
    assert sorted(path.name for path in FOLDER.iterdir()) == sorted(f"{one.name}.json.gz" for one in SCENARIOS)
