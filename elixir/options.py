"""Options that many functions and commands have, in groups: each is typed and explained here once."""

from pathlib import Path
from typing import TypedDict


class SourceOptions(TypedDict, total=False):
    """What of a source is meant (see `elixir.data.open.open_source`).

    Attributes:
        image: column with the images, or with their paths, where it cannot be told.
        label: label column, likewise.
        split: of a dataset with several.
        follow_links: read what links that leave a folder lead to.
    """

    image: str | None
    label: str | None
    split: str | None
    follow_links: bool


class WorkOptions(SourceOptions, total=False):
    """How the images of a table, or any others, are worked on.

    Attributes:
        device: "auto" (default), "cpu", "cuda", "cuda:1" or "mps".
        quiet: no progress; the default of functions, not of commands.
    """

    device: str
    quiet: bool


class RunOptions(WorkOptions, total=False):
    """How a pipeline is run.

    Attributes:
        reference: the user's own classifier (see `elixir.models.external.load_classifier`).
        prior: weights of the purifier: file, folder or hub name.
        seed: decides every draw and training; 0 by default.
        shard_size: bytes of a parquet file of the output, or text such as "500MB"; by default as many files as in the
            input.
        batch_size: samples in flight, 256 by default; has no influence on the result.
        workers: threads that decode images, one for each core by default; with ray, processes, one for each core or GPU
            of the cluster; likewise.
        executor: "local" (default), or "ray" for the processes of a ray cluster; likewise.
        address: of a ray cluster that is running, "auto" for the one of this machine; by default one is started here.
        resume: go on with an interrupted run of the same settings.
        overwrite: replace what is at the destination, and forget an interrupted run.
    """

    reference: str | Path | None
    prior: str | Path | None
    seed: int
    shard_size: int | str | None
    batch_size: int
    workers: int | None
    executor: str
    address: str | None
    resume: bool
    overwrite: bool
