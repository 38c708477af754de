"""`elixir purify`: plain images of any kind in, PNGs of the same names out."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image
from small_world import Blur, elixir, png
from torch import Tensor

from elixir.data.open import TEST, open_source
from elixir.data.tables.table import TableSamples, TableSource
from elixir.errors import ElixirError
from elixir.purifiers.base import Purifier
from elixir.purifiers.classical import Identity
from elixir.purify import SIGMA, PurifiedImages, purify_images
from elixir.randomness import noise


def purify(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    return elixir(monkeypatch, "purify", *arguments)


def clean(
    folder: Path, out: Path, purifier: Purifier | None = None, resume: bool = False, sigma: float | None = None
) -> PurifiedImages:
    source = open_source(folder, labelled=False)
    return purify_images(source, out, purifier or Blur(), sigma, 0, {"purifier": "blur"}, resume, quiet=True)


@pytest.fixture
def odd(tmp_path: Path) -> Path:
    """A folder of everything that people have in folders of images."""
    root = tmp_path / "odd"
    (root / "deep" / "er").mkdir(parents=True)
    (root / ".hidden").mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    (root / "a.png").write_bytes(png(pixels))
    Image.fromarray(pixels).save(root / "a.jpg")
    Image.fromarray(pixels[:7, :5]).convert("L").save(root / "deep" / "grey.bmp")
    Image.fromarray(np.dstack([pixels, pixels[..., :1]])).save(root / "deep" / "er" / "alpha \U0001f600.webp")
    (root / "deep" / "dot").write_bytes(png(pixels[:1, :1]))
    (root / "deep" / "wide.png").write_bytes(png(pixels[:1].repeat(9, axis=1)))
    (root / "short.png").write_bytes(png(pixels)[:200])
    (root / "empty.jpg").touch()
    (root / "loop.png").symlink_to("loop.png")
    (root / "notes.txt").write_text("mine")
    (root / ".hidden" / "b.png").write_bytes(png(pixels))
    (root / "deep" / "._wide.png").write_bytes(b"\0\5\x16\7")
    return root


def names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_odd_folder(odd: Path, tmp_path: Path) -> None:
    before = {path: path.read_bytes() for path in odd.rglob("*") if path.is_file()}
    done = clean(odd, tmp_path / "out")
    assert done.written == 6
    assert set(done.damaged) == {"short.png", "empty.jpg", "loop.png"}
    assert all(done.damaged.values())
    expected = {"a.png", "a-1.png", "deep/grey.png", "deep/er/alpha \U0001f600.png", "deep/dot.png", "deep/wide.png"}
    assert names(tmp_path / "out") == expected
    assert {path: path.read_bytes() for path in before} == before
    with Image.open(tmp_path / "out" / "deep" / "grey.png") as grey:
        assert (grey.mode, grey.size) == ("L", (5, 7))
    with Image.open(tmp_path / "out" / "deep" / "er" / "alpha \U0001f600.png") as alpha:
        assert alpha.mode == "RGBA"


def test_an_image_gets_its_own_noise_and_is_rounded(odd: Path, tmp_path: Path) -> None:
    clean(odd, tmp_path / "out", sigma=0.2)
    x = torch.from_numpy(np.array(Image.open(odd / "a.png"))).permute(2, 0, 1)[None].float() / 255
    z = noise(0, ["a.png"], ("purify", 0.2), tuple(x.shape[1:]))
    expected = (Blur().purify(x, 0.2, z) * 255).round().to(torch.uint8)[0].permute(1, 2, 0).numpy()
    assert np.array_equal(np.array(Image.open(tmp_path / "out" / "a.png")), expected)


def test_by_default_there_is_noise_only_for_a_purifier_that_needs_it(odd: Path, tmp_path: Path) -> None:
    for name, purifier, sigma in (("a", Identity(), None), ("b", Blur(), None), ("c", Blur(), SIGMA)):
        clean(odd, tmp_path / name, purifier, sigma=sigma)
    same, blurred, blurred_too = (np.array(Image.open(tmp_path / name / "a.png")) for name in "abc")
    assert np.array_equal(same, np.array(Image.open(odd / "a.png")))
    assert np.array_equal(blurred, blurred_too)


def test_an_interrupted_run_goes_on(odd: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Stopped(Blur):
        calls = 0

        def purify(self, x: Tensor, sigma: float, noise: Tensor) -> Tensor:
            self.calls += 1
            if self.calls == 3:
                raise KeyboardInterrupt
            return super().purify(x, sigma, noise)

    with pytest.raises(KeyboardInterrupt):
        clean(odd, tmp_path / "out", Stopped())
    assert not (tmp_path / "out").exists()
    with pytest.raises(ElixirError, match="add --resume"):
        clean(odd, tmp_path / "out")
    with pytest.raises(ElixirError, match="other settings"):
        clean(odd, tmp_path / "out", resume=True, sigma=0.3)
    assert clean(odd, tmp_path / "out", resume=True).written == 6
    clean(odd, tmp_path / "through")
    assert names(tmp_path / "out") == names(tmp_path / "through")
    for name in names(tmp_path / "out"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "through" / name).read_bytes()
    assert not list(tmp_path.glob(".*"))


def test_a_run_that_was_killed_at_the_very_end_goes_on(
    odd: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clean(odd, tmp_path / "through")
    replace = os.replace
    for step in ("shutil.rmtree", "os.replace"):
        with monkeypatch.context() as patch:

            def stop(place: Path, *arguments: Path, step: str = step) -> None:
                if step == "shutil.rmtree" or arguments == (tmp_path / "out",):
                    raise KeyboardInterrupt
                replace(place, *arguments)

            patch.setattr(step, stop)
            with pytest.raises(KeyboardInterrupt):
                clean(odd, tmp_path / "out")
        with pytest.raises(ElixirError, match=r"not empty|add --resume"):
            clean(odd, tmp_path / "out")
        with pytest.raises(ElixirError, match=r"not empty|other settings"):
            clean(odd, tmp_path / "out", resume=True, sigma=0.3)
        done = clean(odd, tmp_path / "out", resume=True)
        assert (done.written, len(done.damaged)) == (6, 3)
        assert names(tmp_path / "out") == names(tmp_path / "through")
        assert not list(tmp_path.glob(".*"))
        assert not list((tmp_path / "out").glob(".*"))
        shutil.rmtree(tmp_path / "out")


def test_a_folder_with_the_record_of_something_else_is_not_empty(odd: Path, tmp_path: Path) -> None:
    (tmp_path / "out" / ".elixir").mkdir(parents=True)
    for text, message in (("{}", "not empty"), ("{", "give another folder with -o")):
        (tmp_path / "out" / ".elixir" / "run.json").write_text(text)
        with pytest.raises(ElixirError, match=message):
            clean(odd, tmp_path / "out", resume=True)
        assert names(tmp_path / "out") == {".elixir/run.json"}


@pytest.mark.slow
def test_command_on_a_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    assert purify(monkeypatch, TEST, "-o", tmp_path / "out", "--purifier", "blur", "--sigma", "0.05") == 0
    count = len(open_source(TEST).samples)
    assert f"{count} images written" in capsys.readouterr().out
    assert len(names(tmp_path / "out")) == count
    assert "signs-test/00000000.png" in names(tmp_path / "out")


def test_command_reports_damage(odd: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    (odd / "empty.jpg").rename(odd / "\x1b]0;empty.jpg")
    assert purify(monkeypatch, odd, "-o", tmp_path / "out", "--purifier", "blur") == 0
    captured = capsys.readouterr()
    assert "6 images written" in captured.out
    assert "3 could not be read" in captured.out
    assert r"\x1b]0;empty.jpg: empty file" in captured.err
    assert "\x1b" not in captured.err
    assert "Traceback" not in captured.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{odd}", "-o", "{odd}"], "are the same"),
        (["{odd}", "-o", "{odd}/clean"], "lies inside"),
        (["{odd}/deep", "-o", "{odd}"], "lies inside"),
        (["{odd}", "-o", "{full}"], "not empty"),
        (["{odd}", "-o", "{out}", "--sigma", "0"], "greater than 0"),
        (["{odd}", "-o", "{out}", "--purifier", "blurr"], "did you mean 'blur'"),
        (["{empty}", "-o", "{out}"], "no images in it"),
        (["{odd}/nothing", "-o", "{out}"], "does not exist"),
        (["{odd}", "-o", "/proc/out"], "cannot write"),
    ],
)
def test_mistakes_are_explained(odd: Path, tmp_path: Path, monkeypatch, capsys, arguments, message) -> None:
    (tmp_path / "empty").mkdir()
    shutil.copytree(odd / "deep", tmp_path / "full")
    places = {"odd": odd, "out": tmp_path / "out", "empty": tmp_path / "empty", "full": tmp_path / "full"}
    given = [argument.format(**places) for argument in arguments]
    assert purify(monkeypatch, "--purifier", "blur", *given) == 1
    captured = capsys.readouterr()
    assert message in captured.err
    assert "Traceback" not in captured.err
    assert not (tmp_path / "out").exists()


def test_names_of_a_table_stay_inside_the_output(tmp_path: Path) -> None:
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["a"])})
    rows = {"image": [Image.new("RGB", (8, 8))] * 2, "label": [0, 0]}
    source = open_source(datasets.Dataset.from_dict(rows, features=features))
    assert isinstance(source, TableSource)
    source.samples = TableSamples([("../../evil", 2)], np.zeros(2, np.int32), pa.nulls(2, pa.string()))
    out = tmp_path / "deep" / "er" / "out"
    done = purify_images(source, out, Identity(), 0.0, 0, {}, resume=False, quiet=True)
    assert done.written == 2
    assert len(list(out.rglob("*.png"))) == 2
    assert not (tmp_path / "deep" / "evil").exists()
