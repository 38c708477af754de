"""What `--fail-on` makes of results."""

import pytest
from fake_result import fake_result

from elixir.cli.exit_codes import FailOn, found
from elixir.result import Result

EVERY = list(FailOn)
QUARANTINED = ("kept",) * 5 + ("quarantined",)


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (fake_result(), []),
        (fake_result(attacked=True), [FailOn.ATTACK]),
        (fake_result(actions=QUARANTINED), [FailOn.CHANGE]),
        (fake_result(unreadable_files=["notes.txt"]), [FailOn.CHANGE]),
        (fake_result(not_judged=("", "few", "")), [FailOn.NOT_JUDGED]),
        (fake_result(pattern=[5]), [FailOn.PATTERN]),
        (fake_result(True, ("", "few", ""), QUARANTINED, pattern=[5]), EVERY),
    ],
)
def test_what_is_found(result: Result, expected: list[FailOn]):
    assert found(result, EVERY) == expected
    assert found(result, []) == []
    for each in EVERY:
        assert found(result, [each]) == [each] * (each in expected)


def test_a_result_that_says_nothing_of_any_label_is_not_judged():
    result = fake_result()
    result.labels.clear()
    assert found(result, EVERY) == [FailOn.NOT_JUDGED]
