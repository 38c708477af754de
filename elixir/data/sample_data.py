"""The shipped sample: 1,700 and 700 images of ten German traffic signs."""

from pathlib import Path

TRAIN, TEST = (Path(__file__).parents[1] / "sample" / f"signs-{name}.parquet" for name in ("train", "test"))
