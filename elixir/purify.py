"""Purify plain images, as at test time: each once, written as PNG."""

import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from elixir.data.files.folder import FileSource
from elixir.data.image import Picture, decode, encode
from elixir.data.io import RUN_FOLDER, read_json, real_path, replace_json, replacing, writing
from elixir.data.overlap import refuse_overlap
from elixir.data.paths import Names, file_name, png_name, unescape
from elixir.data.source import Source
from elixir.data.workdir import WorkDir
from elixir.errors import ElixirError, UnreadableSample
from elixir.progress import Progress
from elixir.purifiers.base import Purifier
from elixir.randomness import noise

PIXELS = 2**22  # decoded pixels that are held in memory before they are purified and written
SIGMA = 0.1  # default noise level, in [0,1] pixel units, of a purifier that needs noise
OUTCOME = "outcome.json"
"""File in the run folder of an output that is not handed over yet: what `purify_images` returns."""


@dataclass(frozen=True)
class PurifiedImages:
    """Number of images written by `purify_images`, and why others could not be read, by id."""

    written: int
    damaged: dict[str, str]


def purify_images(
    source: Source,
    out: Path,
    purifier: Purifier,
    sigma: float | None = None,
    seed: int = 0,
    settings: dict[str, object] | None = None,
    resume: bool = False,
    quiet: bool = False,
) -> PurifiedImages:
    """Purify every image of a source once and write it as PNG with alpha channel, greyness and orientation kept.

    An image goes where its id says, with ".png" for its extension (and "-1", "-2", ... before it where two images would
    have one name). The noise depends on seed and id. `out` appears when everything is there.

    Args:
        sigma: noise in [0,1] pixel units; by default 0 for a purifier that can do without, `SIGMA` for the others.
        settings: what else decides the result; an interrupted run is only gone on with if it is the same.

    Raises: ElixirError: the purifier needs noise, or `out` cannot be used: see `WorkDir` and `refuse_overlap`.
    """
    without_noise = getattr(purifier, "without_noise", False)
    if sigma is None:
        sigma = 0.0 if without_noise else SIGMA
    if sigma <= 0 and not without_noise:
        raise ElixirError("this purifier works by noise: give --sigma a value greater than 0, such as 0.1")
    out = real_path(out)
    refuse_overlap(source, out)
    settings = {**(settings or {}), "sigma": sigma, "seed": seed, "input": source.fingerprint()}
    work = WorkDir(out)
    with work.alone():
        if resume and work.finished(settings):
            work.discard()
        else:
            work.prepare(settings, resume)
            work.begin(settings)
            purified = _purify_all(source, work.output, purifier, sigma, seed, Progress(quiet))
            work.sign(settings)
            replace_json(work.output / RUN_FOLDER / OUTCOME, asdict(purified))
            work.publish()
        purified = PurifiedImages(**read_json(out / RUN_FOLDER / OUTCOME, "give another folder with -o"))
        with writing(out):
            shutil.rmtree(out / RUN_FOLDER)  # the output is the images alone
    return purified


def _purify_all(
    source: Source, folder: Path, purifier: Purifier, sigma: float, seed: int, progress: Progress
) -> PurifiedImages:
    """Write the images that are not there yet."""
    paths = _paths(source)
    written, damaged = 0, {}
    waiting: dict[tuple[int, ...], list[tuple[int, Picture]]] = {}
    pixels = 0

    def flush() -> None:
        for pictures in waiting.values():
            ids = [source.samples[row].id for row, _ in pictures]
            x = torch.from_numpy(np.stack([picture.rgb for _, picture in pictures])).permute(0, 3, 1, 2).float() / 255
            z = noise(seed, ids, ("purify", sigma), tuple(x.shape[1:]))
            done = (purifier.purify(x, sigma, z) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
            for (row, picture), rgb in zip(pictures, done, strict=True):
                path = folder / paths[row]
                with replacing(path, path.with_name(".partial")) as partial:
                    path.parent.mkdir(parents=True, exist_ok=True)
                    partial.write_bytes(encode(picture, rgb))
        waiting.clear()

    with progress.task("purifying", len(source.samples)) as advance:
        for row, sample in enumerate(source.samples):
            advance(1)
            try:
                picture = decode(source.read(row))
            except UnreadableSample as error:
                damaged[sample.id] = error.reason
                continue
            written += 1
            if (folder / paths[row]).exists():
                continue
            shape = picture.rgb.shape
            waiting.setdefault(shape, []).append((row, picture))
            pixels += shape[0] * shape[1]
            if pixels >= PIXELS:
                flush()
                pixels = 0
        flush()
    return PurifiedImages(written, damaged)


def _paths(source: Source) -> list[Path]:
    """Where each image goes, relative to the output; images that are PNG already have their own name first."""
    ids = [
        unescape(sample.id) if isinstance(source, FileSource) else "/".join(map(file_name, sample.id.split("/")))
        for sample in source.samples
    ]
    names = Names([id for id in ids if png_name(id) == id], {str(Path(id).parent) for id in ids})
    return [Path(id if png_name(id) == id else names.free(png_name(id))) for id in ids]
