"""Record what is decided: `python -m golden.record [NAME ...]`, from tests/. Look at `git diff` and at why."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from golden.engine import play
from golden.recordings import SCENARIOS, keep


def main() -> None:
    """Record the named scenarios, or all."""
    for scenario in SCENARIOS:
        if not sys.argv[1:] or scenario.name in sys.argv[1:]:
            with tempfile.TemporaryDirectory() as folder:
                outcome = play(scenario, Path(folder))
            scenario.reaches(outcome)
            keep(scenario, outcome)


if __name__ == "__main__":
    main()
