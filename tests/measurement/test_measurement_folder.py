"""The frame of measurements: what records say of models, batch sizes, and which results stand side by side."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from elixir.data.io import replace_json
from elixir.errors import ElixirError
from elixir.measurement.measurement_folder import (
    fitting,
    hardware,
    measured_alike,
    name_of_test_set,
    read_finished,
    recorded_model,
)


@pytest.mark.parametrize(
    ("spec", "record"),
    [
        ("/a/b/c.safetensors", "c.safetensors"),
        ("impure=/a/b/c.safetensors", "impure=c.safetensors"),
        ("timm:resnet18@/a/c.safetensors", "timm:resnet18@c.safetensors"),
        ("/a=b/c.safetensors", "c.safetensors"),
        ("a/c.safetensors", "a/c.safetensors"),
        ("impure=a/c.safetensors", "impure=a/c.safetensors"),
        ("owner/name", "owner/name"),
        ("jpeg", "jpeg"),
    ],
)
def test_records_name_models_without_their_folder(spec: str, record: str):
    assert recorded_model(spec) == record


def test_below_the_current_folder_a_model_is_recorded_by_its_relative_path(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert recorded_model(f"impure={tmp_path}/a/c.safetensors") == "impure=a/c.safetensors"


def test_larger_images_come_in_smaller_batches():
    assert [fitting(64, *size) for size in ((32, 32), (64, 64), (64, 32), (16, 16), (900, 900))] == [64, 16, 32, 64, 1]


def test_results_of_the_same_settings_and_hardware_are_alike():
    @dataclass(frozen=True)
    class Measured:
        settings: dict[str, Any]
        hardware: str

    a, b = Measured({"seed": 0, "n": 1}, "abacus"), Measured({"seed": 0, "n": 2}, "abacus")
    c, d, e = Measured({"seed": 1}, "abacus"), Measured({"seed": 0}, "slide rule"), Measured({}, "abacus")
    assert measured_alike([a, c, b, d, e], ["seed"]) == [[a, b], [c], [d], [e]]
    assert measured_alike([a, b], ["seed", "n"]) == [[a], [b]]


def test_a_finished_folder_is_read(tmp_path: Path):
    with pytest.raises(ElixirError, match=r"holds no finished poll; run the same `elixir ask` again"):
        read_finished(tmp_path, "poll", "ask")
    replace_json(tmp_path / "summary.json", {"settings": {"test": "data/signs.parquet"}})
    with pytest.raises(ElixirError, match=r"timings\.json does not exist; measure again"):
        read_finished(tmp_path, "poll", "ask")
    replace_json(tmp_path / "timings.json", {"machine": {"gpu": None, "cpu": "abacus"}})
    summary, timings = read_finished(tmp_path, "poll", "ask")
    assert name_of_test_set(summary["settings"]) == "signs"
    assert hardware(timings) == "abacus"
    assert hardware({"machine": {"gpu": "H100", "cpu": "abacus"}}) == "H100"
