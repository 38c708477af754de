"""The command as a user meets it: exit codes, messages, hostile input, and never a traceback."""

import errno
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tomllib
import zlib
from dataclasses import replace
from pathlib import Path

import pytest
from small_world import FAST, elixir, make_shapes, png
from typer.main import get_command
from typer.testing import CliRunner

from elixir import cli
from elixir.attacks.badnets import BadNets
from elixir.cli.options import out, parse_settings
from elixir.data.open import TRAIN
from elixir.data.restore import restore
from elixir.errors import ElixirError
from elixir.evaluation import outcome
from elixir.evaluation.truth import attack_of
from elixir.pipeline import Pipeline
from elixir.recipe import read_recipe, shipped_recipes
from elixir.registry import find

PAIRS = [item for key, value in FAST.items() for item in ("--set", f"{key}={json.dumps(value)}")]


def bomb() -> bytes:
    """A PNG that says it has 20,000 x 20,000 pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    header = (20000).to_bytes(4, "big") * 2 + bytes([8, 2, 0, 0, 0])
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")
    )


@pytest.fixture
def hostile(shapes: Path, tmp_path: Path) -> Path:
    root = Path(shutil.copytree(shapes, tmp_path / "hostile"))
    image = (root / "bar" / "000.png").read_bytes()
    (root / "bar" / "empty.png").write_bytes(b"")
    (root / "bar" / "short.png").write_bytes(image[:100])
    (root / "bar" / "text.jpg").write_text("no image")
    (root / "bar" / "bomb.png").write_bytes(bomb())
    (root / "bar" / "wrong.jpg").write_bytes(image)
    (root / "bar" / ".hidden").write_text("mine")
    (root / "bar" / "loop.png").symlink_to("loop.png")
    (root / "bar" / "out.png").symlink_to("/etc/hostname")
    (root / "bar" / "a 'b' \"c\"\n<script>\U0001f600.png").write_bytes(image)
    (root / "bar" / "same.png").write_bytes(image)
    (root / "bar" / "SAME.png").write_bytes(image)
    (root / "lonely").mkdir()
    (root / "lonely" / "one.png").write_bytes(image)
    (root / "spot" / "dot.png").write_bytes(png_1x1())
    return root


def png_1x1() -> bytes:
    import numpy as np

    return png(np.full((1, 1, 3), 7, np.uint8))


@pytest.mark.slow
def test_hostile_input_costs_no_sample(hostile: Path, tmp_path: Path, monkeypatch, capsys):
    assert elixir(monkeypatch, "sanitize", hostile, "-o", tmp_path / "clean", *PAIRS, "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["actions"]["quarantined"] >= 6
    table = {row["id"]: row for row in find_manifest(tmp_path / "clean")}
    for name in ("empty", "short", "bomb", "loop", "out"):
        assert table[f"bar/{name}.png"]["action"] == "quarantined", name
        assert table[f"bar/{name}.png"]["reason"]
    assert (tmp_path / "clean/.elixir/quarantine/bar/short.png").read_bytes() == (
        hostile / "bar/short.png"
    ).read_bytes()
    for name in ("wrong.jpg", "same.png", "SAME.png", "a 'b' \"c\"\n<script>\U0001f600.png"):
        assert (tmp_path / "clean" / "bar" / name).read_bytes() == (hostile / "bar" / name).read_bytes()
    restore(tmp_path / "clean", tmp_path / "back")
    for path in hostile.rglob("*"):
        if path.is_file() and not path.is_symlink():
            assert (tmp_path / "back" / path.relative_to(hostile)).read_bytes() == path.read_bytes()


def find_manifest(dst: Path) -> list[dict]:
    from elixir.data.manifest import read_manifest

    return read_manifest(dst / ".elixir" / "manifest.parquet").to_pylist()


@pytest.fixture
def spots(tmp_path: Path) -> Path:
    """Two classes, in which there is little to do."""
    root = make_shapes(tmp_path / "spots", count=20, poisoned=0)
    shutil.rmtree(root / "bar")
    return root


def test_one_class_only(spots: Path, monkeypatch, capsys):
    shutil.rmtree(spots / "post")
    assert elixir(monkeypatch, "scan", spots, *PAIRS) == 1
    assert "with a single class there is nothing to tell apart" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["sanitize", "{empty}", "-o", "{out}"], "no images in class folders"),
        (["sanitize", "{src}", "-o", "{src}"], "are the same"),
        (["sanitize", "{src}", "-o", "{out}", "--set", "probe.sigmas=1"], "no setting 'sigmas'; did you mean 'sigma'"),
        (["sanitize", "{src}", "-o", "{out}", "--set", "probe"], "STAGE.KEY=VALUE"),
        (["sanitize", "{src}", "-o", "{out}", "--pipeline", "datelixir"], "did you mean 'dataelixir'"),
        (["sanitize", "{src}", "-o", "{out}", "--backbone", "timm:resnet_18"], "'resnet_18' is no file or folder"),
        (["scan", "{src}", "-o", "{out}", "--backbone", "{empty}"], "has no safetensors file"),
        (["scan", "{empty}/nothing"], "does not exist"),
        (
            ["restore", "{src}", "-o", "{out}"],
            "manifest.parquet does not exist; give what `elixir sanitize` has written",
        ),
        (["scan", "{src}", "--device", "gpu"], "device 'gpu' is not known; give auto, cpu, cuda, cuda:1 or mps"),
        (["scan", "{src}", "--junit", "{empty}"], "is a folder; name a file in it"),
        (["scan", "{src}", "--junit", "{out}/junit.xml"], "is no folder; choose or make another"),
        (["poison", "{src}", "-o", "{out}", "--attack", "badnet", "--target", "bar"], "did you mean 'badnets'"),
        (["poison", "{src}", "-o", "{out}", "--attack", "badnets", "--target", "barr"], "did you mean 'bar'"),
        (["score", "{src}", "--test", "{src}", "--attack", "badnets", "--target", "barr"], "did you mean 'bar'"),
        (
            ["poison", "{src}", "-o", "{out}", "--attack", "badnets", "--target", "bar", "--set", "foo"],
            "should look like KEY=VALUE",
        ),
        (["score", "{src}"], "give --truth to compare with, --test to train for, or both"),
        (["score", "{src}", "--test", "{src}", "--target", "bar"], "about the attack that --attack names"),
        (
            ["score", "{src}", "--test", "{src}", "--attack", "badnets"],
            "--test needs --truth, or --attack and --target",
        ),
        (["score", "{src}", "--truth", "{src}"], "findings.json"),
        (["train", "impure", "{src}", "-o", "{out}", "--stage", "pretrain"], "must end with .safetensors"),
        (["train", "impure", "{src}", "-o", "{out}", "--stage", "pretrain", "--initial", "a"], "leave out --initial"),
        (["train", "impure", "{src}", "-o", "{out}", "--stage", "pretrain", "--size", "40"], "too small"),
        (["train", "impure", "{src}", "-o", "{out}", "--stage", "finetune"], "with --initial"),
        (["train", "impure", "{src}", "-o", "{out}", "--stage", "finetune", "--initial", "a"], "no weight file"),
    ],
)
def test_mistakes_are_explained(shapes: Path, tmp_path: Path, monkeypatch, capsys, arguments, message):
    (tmp_path / "empty").mkdir()
    places = {"src": shapes, "out": tmp_path / "out", "empty": tmp_path / "empty"}
    assert elixir(monkeypatch, *(argument.format(**places) for argument in arguments)) == 1
    captured = capsys.readouterr()
    assert message in captured.err
    assert "Traceback" not in captured.err
    assert not (tmp_path / "out").exists()


def test_text_of_strangers_is_shown_as_it_is(tmp_path: Path, monkeypatch, capsys):
    assert elixir(monkeypatch, "scan", tmp_path / "\x1b]0;:cat:a") == 1
    assert r"/\x1b]0;:cat:a does not exist" in capsys.readouterr().err
    assert elixir(monkeypatch, "report", "results", tmp_path / "\x1b]0;:cat:") == 1
    assert r"/\x1b]0;:cat:" in capsys.readouterr().err
    out.print(":cat: a:100:b [b]")
    assert capsys.readouterr().out == ":cat: a:100:b [b]\n"


def test_lines_of_a_message_stay_lines(monkeypatch, capsys):
    def fail(*_: object) -> None:
        raise ElixirError("one\ntwo\t")

    monkeypatch.setattr("elixir.registry.names", fail)
    assert elixir(monkeypatch, "attacks") == 1
    assert capsys.readouterr().err == "elixir: one\ntwo\\t\n"


def test_text_that_a_terminal_cannot_show():
    script = (
        "from elixir import cli; cli.app = lambda **_: (cli.experiments.out.print('猫'), cli._say('猫')); cli.main()"
    )
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("\\u732b\n", "elixir: \\u732b\n")


def test_a_read_only_place_is_named(shapes: Path, monkeypatch, capsys):
    assert elixir(monkeypatch, "sanitize", shapes, "-o", "/proc/clean", *PAIRS) == 1
    assert "cannot write beside /proc/clean" in capsys.readouterr().err


@pytest.mark.slow
def test_a_full_disk_can_be_resumed_from(spots: Path, tmp_path: Path, monkeypatch, capsys):
    real = os.pwrite

    def full(*arguments: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "pwrite", full)
    assert elixir(monkeypatch, "sanitize", spots, "-o", tmp_path / "clean", *PAIRS, "--quiet") == 1
    assert "no space left" in capsys.readouterr().err
    assert not (tmp_path / "clean").exists()
    monkeypatch.setattr(os, "pwrite", real)
    assert elixir(monkeypatch, "sanitize", spots, "-o", tmp_path / "clean", *PAIRS, "--quiet", "--resume") == 0
    assert len(list((tmp_path / "clean" / "spot").iterdir())) == 20


@pytest.mark.slow
def test_poison_then_score(shapes: Path, tmp_path: Path, monkeypatch, capsys):
    arguments = ("--attack", "badnets", "--set", "pattern=white", "--rate", "0.1", "--target", "spot")
    assert elixir(monkeypatch, "poison", shapes, "-o", tmp_path / "poisoned", *arguments) == 0
    assert (tmp_path / "poisoned.truth.parquet").exists()
    assert elixir(monkeypatch, "sanitize", tmp_path / "poisoned", "-o", tmp_path / "clean", *PAIRS, "-q") == 0
    capsys.readouterr()
    assert elixir(monkeypatch, "score", tmp_path / "clean", "--truth", tmp_path / "poisoned.truth.parquet") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["poisoned"] == 20
    assert 0 <= report["tpr"] <= 1
    assert attack_of(tmp_path / "poisoned.truth.parquet") == (BadNets(pattern="white"), "spot")
    truth = ("--truth", tmp_path / "poisoned.truth.parquet")
    monkeypatch.setattr(
        outcome, "FRESH", replace(outcome.FRESH, epochs=1, least_steps=1, backbone="none", widths=(8, 12))
    )
    assert elixir(monkeypatch, "score", tmp_path / "poisoned", *truth, "--test", shapes, "--seeds", "1", "-q") == 0
    report = json.loads(capsys.readouterr().out)
    assert report.keys() == {"dataset", "outcomes"}  # nothing has been cleaned that could be compared
    assert report["outcomes"][0]["triggered"] == 120


@pytest.mark.slow
def test_three_attacks_are_scored_together(shapes: Path, tmp_path: Path, monkeypatch, capsys):
    place = shapes
    for number, (attack, target) in enumerate((("badnets", "spot"), ("blended", "bar"), ("tact", "post"))):
        arguments = ("--attack", attack, "--target", target, "--rate", "0.05", "--seed", number, "--quiet")
        assert elixir(monkeypatch, "poison", place, "-o", tmp_path / f"set{number}", *arguments) == 0
        place = tmp_path / f"set{number}"
    assert elixir(monkeypatch, "sanitize", place, "-o", tmp_path / "clean", *PAIRS, "-q") == 0
    capsys.readouterr()
    assert elixir(monkeypatch, "score", tmp_path / "clean", "--truth", tmp_path / "set2.truth.parquet") == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["poisoned"], report["covers"]) == (30, 10)


def test_experiments_do_not_write_into_their_input(shapes: Path, tmp_path: Path, monkeypatch, capsys):
    (tmp_path / "table").mkdir()
    shutil.copyfile(TRAIN, tmp_path / "table" / "train.parquet")
    badnets = ("--attack", "badnets", "--target", "stop")
    assert elixir(monkeypatch, "poison", tmp_path / "table", "-o", tmp_path / "table" / "out", *badnets) == 1
    assert "lies inside the source" in capsys.readouterr().err
    data = shutil.copytree(shapes, tmp_path / "data")
    for place, message in ((data, "are the same"), (data / "results", "lies inside the source")):
        arguments = ("--attack", "none", "--pipeline", "none", "-o", place)
        for train, test in ((data, shapes), (shapes, data)):
            assert elixir(monkeypatch, "evaluate", train, "--test", test, *arguments) == 1
            assert message in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_dir()) == [
        "bar",
        "data",
        "post",
        "spot",
        "table",
    ]
    assert len(list((tmp_path / "table").iterdir())) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_names_of_inputs_may_be_any_bytes_and_those_of_outputs_text(shapes: Path, tmp_path: Path, monkeypatch, capsys):
    tables = tmp_path / "t\udcff"
    tables.mkdir()
    shutil.copyfile(TRAIN, tables / "train.parquet")
    for source in (Path(shutil.copytree(shapes, tmp_path / "s\udcff")), tables):
        badnets = ("--attack", "badnets", "--target", "0", "--quiet")
        assert elixir(monkeypatch, "poison", source, "-o", tmp_path / source.name.replace("\udcff", ""), *badnets) == 0
        for command in (("poison", *badnets), ("scan",)):
            capsys.readouterr()
            assert elixir(monkeypatch, command[0], source, "-o", tmp_path / "x\udcff", *command[1:]) == 1
            assert "no UTF-8 in its name" in capsys.readouterr().err


def test_attacks_are_listed_with_their_parameters(monkeypatch, capsys):
    assert elixir(monkeypatch, "attacks") == 0
    lines = capsys.readouterr().out.splitlines()
    assert "sig (clean label): seed=0, truncate=False, delta=40, frequency=6" in lines
    assert len(lines) >= 9


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("evaluate", "TRAIN", "--test", "TRAIN", "-o", "OUT"), "give --target CLASS, or --all-to-all"),
        (
            ("evaluate", "TRAIN", "--test", "TRAIN", "-o", "OUT", "--target", "x", "--attack", "badnet"),
            "mean 'badnets'",
        ),
        (("poison", "TRAIN", "-o", "OUT", "--attack", "sig", "--all-to-all"), "sig needs one target class"),
        (("poison", "TRAIN", "-o", "OUT", "--attack", "ssba", "--target", "spot", "--set", "bit=3"), "mean 'bits'"),
        (("report", "results", "TRAIN"), "holds no results of `elixir evaluate`"),
        (
            (
                "evaluate",
                "TRAIN",
                "--test",
                "TRAIN",
                "-o",
                "OUT",
                "--target",
                "spot",
                "--set",
                "thresholds.treshold=.6",
            ),
            "no setting 'treshold'",
        ),
        (
            ("evaluate", "TRAIN", "--test", "TRAIN", "-o", "OUT", "--all-to-all", "--attack", "ssba:bit=3"),
            "mean 'bits'",
        ),
    ],
)
def test_wrong_experiments(shapes: Path, tmp_path: Path, monkeypatch, capsys, arguments, message):
    places = {"TRAIN": shapes, "OUT": tmp_path / "out"}
    assert elixir(monkeypatch, *(places.get(word, word) for word in arguments)) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists() or not any((tmp_path / "out").iterdir())


def test_the_version_is_that_of_the_project(monkeypatch, capsys):
    assert elixir(monkeypatch, "--version") == 0
    declared = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())["project"]["version"]
    assert capsys.readouterr().out == f"elixir {declared}\n"


def test_recipes_are_listed_with_their_settings(monkeypatch, capsys):
    assert elixir(monkeypatch, "recipes") == 0
    told = capsys.readouterr().out
    for recipe in shipped_recipes():
        assert f"{recipe}: {read_recipe(recipe).description}\n" in told
    assert elixir(monkeypatch, "recipes", "impure") == 0
    told = capsys.readouterr().out
    assert "purifier = impure\n" in told
    shown = [line.strip() for line in told.splitlines() if line.startswith("  ") and " = " in line]
    pipeline = Pipeline.from_recipe("impure", parse_settings([line.replace(" = ", "=", 1) for line in shown]))
    assert pipeline.describe() == Pipeline.from_recipe("impure").describe()
    described = pipeline.describe()
    tables = [*described["stages"].values(), described["thresholds"], described["training"]]
    assert len(shown) == sum(map(len, tables))
    assert elixir(monkeypatch, "recipes", "impur") == 1
    assert "did you mean 'impure'" in capsys.readouterr().err


def test_help_and_readme_know_every_command():
    readme = (Path(__file__).parents[1] / "README.md").read_text()
    top = get_command(cli.app).commands  # type: ignore[attr-defined]
    groups = {(): top, **{(name,): group.commands for name, group in top.items() if hasattr(group, "commands")}}
    commands = [(*group, name) for group, members in groups.items() for name in members if (name,) not in groups]
    assert len(commands) == 23
    for command in commands:
        output = CliRunner().invoke(cli.app, [*command[:-1], "--help"]).output
        assert re.search(rf"^\W*{command[-1]}\s", output, re.MULTILINE), command
        assert re.search(rf"elixir {' '.join(command)}\b|\btrain {command[-1]}\b", readme), command


def test_help_of_every_command_has_an_example_that_it_understands():
    top = get_command(cli.app).commands  # type: ignore[attr-defined]
    for name, command in top.items():
        for each in getattr(command, "commands", {name: command}).values():
            words = shlex.split(each.epilog.removeprefix("Example: "))
            assert words[:2] == ["elixir", name]
            each.make_context(name, words[2 + (each.name != name) :])


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_complete_commands_and_options(shell: str):
    words = {
        "COMP_WORDS": "elixir sanitize --poli",
        "COMP_CWORD": "2",
        "_TYPER_COMPLETE_ARGS": "elixir sanitize --poli",
    }
    environment = {
        **os.environ,
        **words,
        "_ELIXIR_COMPLETE": f"complete_{shell}",
        "_TYPER_COMPLETE_FISH_ACTION": "get-args",
    }
    program = [sys.executable, "-c", "import sys; sys.argv = ['elixir']; from elixir.cli import main; main()"]
    done = subprocess.run(program, env=environment, capture_output=True, text=True, timeout=120)
    assert "--policy" in done.stdout


def test_settings_are_parsed_as_toml_or_text():
    parsed = parse_settings(["a.b=[0.1, 2]", "c.d=white", "e.f=true", "g.h=1e-3", "i.j=x=y"])
    assert parsed == {"a.b": [0.1, 2], "c.d": "white", "e.f": True, "g.h": 0.001, "i.j": "x=y"}


def test_attacks_come_from_the_registry():
    assert find("attacks", "blended")().name == "blended"


def test_an_interruption_that_is_repeated_ends_without_a_traceback():
    script = """
import atexit, os, signal
from elixir import cli
atexit.register(os.kill, os.getpid(), signal.SIGINT)
def interrupted(**_):
    raise KeyboardInterrupt
cli.app = interrupted
cli.main()
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == -signal.SIGINT
    assert done.stderr.startswith("elixir: interrupted; ")
    assert "Traceback" not in done.stderr


def test_an_interruption_says_how_to_go_on(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("elixir.registry.names", interrupted)
    assert elixir(monkeypatch, "attacks") == 130
    assert "the same command goes on from here" in capsys.readouterr().err


def test_export_writes_tasks_and_prints_the_card(tmp_path: Path, monkeypatch, capsys) -> None:
    run = Path(__file__).parent / "data" / "fixtures" / "v02" / "folder"
    assert (
        elixir(monkeypatch, "export", run, "--to", "label-studio", "-o", tmp_path / "tasks", "--only", "changed") == 0
    )
    assert capsys.readouterr().out == f"5 samples exported to {tmp_path / 'tasks'}\n"
    assert len(json.loads((tmp_path / "tasks/tasks.json").read_text())) == 5
    assert elixir(monkeypatch, "export", run, "--to", "csv", "-o", tmp_path / "d.csv", "--quiet") == 0
    assert (capsys.readouterr().out, (tmp_path / "d.csv").read_text("utf-8-sig").count("poisoned, ")) == ("", 1)
    assert elixir(monkeypatch, "export", run, "--to", "card") == 0
    card = capsys.readouterr().out
    assert card.startswith("## Cleaned with Elixir\n")
    assert elixir(monkeypatch, "export", run, "--to", "card", "-o", tmp_path / "card.md") == 0
    assert (tmp_path / "card.md").read_text() == card
    assert elixir(monkeypatch, "export", run, "--to", "hf") == 1
    assert "--to hf needs a place to write to; name it with -o" in capsys.readouterr().err
