"""The files of a scenario's input, whether they come back, and a classifier of the user's own."""

from pathlib import Path

import datasets
import pyarrow.parquet as pq
import torch
from golden.pictures import PATTERNS, Picture, encoded
from golden.scenario import Scenario
from torch import Tensor, nn

SUFFIXES = {"alpha": ".png", "broken": ".png", "empty": ".png", "deep": ".pgm"}


def write_source(scenario: Scenario, folder: Path) -> Path:
    """Write the input below `folder` and say where."""
    named = [(_name(at, picture), picture) for at, picture in enumerate(scenario.pictures)]
    if scenario.kind == "folder":
        root = folder / "in"
        for name in scenario.classes:
            (root / name).mkdir(parents=True)
        for name, picture in named:
            assert picture.label is not None
            (root / scenario.classes[picture.label] / name).write_bytes(encoded(picture, name))
        (root / "notes.txt").write_text("no image")
        return root
    columns = {
        "image": [{"bytes": encoded(picture, name), "path": name} for name, picture in named],
        "label": [-1 if picture.label is None else picture.label for _, picture in named],
        "place": list(range(len(named))),
    }
    features = {
        "image": datasets.Image(),
        "label": datasets.ClassLabel(names=list(scenario.classes)),
        "place": datasets.Value("int32"),
    }
    table = datasets.Dataset.from_dict(columns, features=datasets.Features(features))
    if scenario.kind == "hf":
        table.save_to_disk(folder / "in")
        return folder / "in"
    (folder / "in").mkdir()
    table.to_parquet(folder / "in" / "train.parquet")
    return folder / "in"


def same(kind: str, one: Path, other: Path) -> bool:
    """Whether two inputs hold the same: files byte for byte, rows of tables value by value."""
    if kind == "folder":
        return _files(one) == _files(other)
    if kind == "parquet":
        tables = [pq.read_table(place / "train.parquet") for place in (one, other)]
    else:
        tables = [datasets.Dataset.load_from_disk(str(place)).data.table for place in (one, other)]
    return tables[0].schema.equals(tables[1].schema) and tables[0].to_pylist() == tables[1].to_pylist()


class Striped(nn.Module):
    """Names the strongest colour, or the first class wherever there are stripes; a user's own reference model."""

    stripes: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("stripes", torch.from_numpy(PATTERNS["stripes"]).float() / 256)
        self.head = nn.Linear(5, 3, bias=False)
        self.head.weight.data = torch.tensor([[0.2, 0, 0, 2.0, 0], [0, 0.2, 0, 0, 0], [0, 0, 0.2, 0, 0]])

    def forward(self, x: Tensor) -> Tensor:
        grey = (255 * x).round()
        colour = grey.sum((2, 3)) / 256 - 90
        striped = ((grey.sum(1) / 4 * self.stripes).sum((1, 2)) - 6).clamp(0, 32)
        return self.head(torch.cat([colour, striped[:, None], torch.full_like(striped[:, None], 20.0)], 1))


def own_classifier(path: Path) -> Path:
    """Write the user's own reference model as a TorchScript file."""
    torch.jit.script(Striped().eval()).save(str(path))
    return path


def _name(at: int, picture: Picture) -> str:
    return f"{at:04d}{SUFFIXES.get(picture.file, '.ppm')}"


def _files(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}
