"""New labels of the flagged samples, each with one of its candidates for an image (DataElixir, steps 5 to 7)."""

from dataclasses import dataclass

import numpy as np

from elixir.data.columns import Columns
from elixir.engine.models import CLEAN
from elixir.engine.run import Run
from elixir.engine.stage import MapStage
from elixir.stages.paper.candidates import replace_images
from elixir.stages.paper.clean_model import FIRST
from elixir.stages.relabel import decision_columns, poisoned_action

REPLACES = ("pixels", "reference_model", "candidates", "max_pixels")


@dataclass
class RelabelUnanimousStage(MapStage):
    """Samples whose candidates all have one label get that label and a purified image at once (step 5)."""

    name = "relabel_unanimous"
    requires = (*REPLACES, "flagged", "unanimous", "majority_label")
    provides = ("unanimous_label", "purified")

    def indices(self, run: Run) -> np.ndarray:
        return np.flatnonzero(run["flagged"] & run["unanimous"])

    def process(self, run: Run, indices: np.ndarray) -> Columns:
        label = run["majority_label"][indices]
        replace_images(run, indices, label)
        return {"unanimous_label": label}


@dataclass
class RelabelAgreedStage(MapStage):
    """The candidates' most common label if the first clean model reads it in the raw image too, else -1 (step 6)."""

    name = "relabel_agreed"
    requires = (*REPLACES, "purified", "flagged", "unanimous", "majority_label", "clean_first_model")
    provides = ("agreed_label",)

    def indices(self, run: Run) -> np.ndarray:
        return np.flatnonzero(run["flagged"] & ~run["unanimous"])

    def process(self, run: Run, indices: np.ndarray) -> Columns:
        majority = run["majority_label"][indices]
        agreed = np.zeros(len(indices), bool)
        if len(indices):
            agreed = run.models.classify(FIRST, run.pixels.read(indices))[0].argmax(1) == majority
        replace_images(run, indices[agreed], majority[agreed])
        return {"agreed_label": np.where(agreed, majority, -1).astype(np.int32)}


@dataclass
class RelabelRestStage(MapStage):
    """The clean model names the samples that are still open (step 7).

    Every flagged sample counts as poisoned and gets a purified image, even where its label turns out to be right.
    """

    name = "relabel_rest"
    requires = (*REPLACES, "purified", "flagged", "unanimous_label", "agreed_label", "clean_model")
    provides = ("new_label", "confidence", "action", "reason", "repaired", "repair_sigma")

    def indices(self, run: Run) -> np.ndarray:
        return np.flatnonzero(run["flagged"])

    def process(self, run: Run, indices: np.ndarray) -> Columns:
        label = np.maximum(run["unanimous_label"], run["agreed_label"])[indices].astype(np.int64)
        rest = label < 0
        if rest.any():
            label[rest] = run.models.classify(CLEAN, run.pixels.read(indices[rest]))[0].argmax(1)
            replace_images(run, indices[rest], label[rest])
        decided = [poisoned_action(run.policy, bool(own)) for own in label == run.labels[indices]]
        unknown = np.full(len(indices), np.nan, np.float32)
        repaired = {"repaired": np.ones(len(indices), bool), "repair_sigma": unknown}
        return decision_columns(label, unknown, decided) | repaired
