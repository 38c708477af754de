"""Executors that cannot be had."""

import pickle

import pytest

from elixir.engine.executors import check_executor
from elixir.errors import ElixirError, UnreadableSample, system_error


def test_executors_that_cannot_be_had_are_named(monkeypatch: pytest.MonkeyPatch):
    check_executor("local", None)
    with pytest.raises(ElixirError, match="executor 'spark' is none of local, ray"):
        check_executor("spark", None)
    with pytest.raises(ElixirError, match="add --executor ray"):
        check_executor("local", "auto")
    monkeypatch.setattr("elixir.engine.executors.find_spec", lambda name: None)
    with pytest.raises(ElixirError, match=r"not installed: pip install 'dataset-elixir\[ray\]'"):
        check_executor("ray", None)


def test_an_error_is_the_same_in_another_process():
    error = ElixirError("cannot write")
    error.__cause__ = ValueError("no space")
    error.__cause__.__cause__ = OSError(28, "no space left on device")
    sent = pickle.loads(pickle.dumps(error))  # noqa: S301
    assert (type(sent), str(sent)) == (ElixirError, "cannot write")
    system = system_error(sent)
    assert system and system.errno == 28
    unreadable = pickle.loads(pickle.dumps(UnreadableSample("is empty")))  # noqa: S301
    assert (unreadable.reason, system_error(unreadable)) == ("is empty", None)
