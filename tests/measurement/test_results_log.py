"""The results log: what is damaged is said, what is half-written is cut off."""

from pathlib import Path

import pytest

from elixir.data.io import read_json, replace_json
from elixir.errors import ElixirError
from elixir.measurement.results_log import ResultsLog


def test_a_results_log_goes_on_after_its_last_whole_line(tmp_path: Path):
    first = ResultsLog(tmp_path / "rows.jsonl", {"seed": 0})
    first.add({"row": 1})
    with (tmp_path / "rows.jsonl").open("a") as file:
        file.write('{"row": 2')
    second = ResultsLog(tmp_path / "rows.jsonl", {"seed": 0})
    assert second.entries == [{"row": 1}]
    second.add({"row": 3})
    assert ResultsLog(tmp_path / "rows.jsonl", {"seed": 0}).entries == [{"row": 1}, {"row": 3}]


def test_a_results_log_of_other_settings_or_a_damaged_one_is_refused(tmp_path: Path):
    path = tmp_path / "rows.jsonl"
    ResultsLog(path, {"seed": 0})
    with pytest.raises(ElixirError, match="other settings"):
        ResultsLog(path, {"seed": 1})
    whole = path.read_bytes()
    for line in (b"\xff\n", b"5\n"):
        path.write_bytes(whole + line)
        with pytest.raises(ElixirError, match="is damaged"):
            ResultsLog(path, {"seed": 0})


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe", None])
def test_what_cannot_be_read_is_said_with_the_remedy(tmp_path: Path, content: bytes | None):
    replace_json(tmp_path / "good.json", {"a": 1})
    assert read_json(tmp_path / "good.json", "") == {"a": 1}
    if content is not None:
        (tmp_path / "bad.json").write_bytes(content)
    with pytest.raises(ElixirError, match=r"bad\.json (cannot be read: .*|does not exist); measure again"):
        read_json(tmp_path / "bad.json", "measure again")
