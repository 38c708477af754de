"""Draws the pictures of the README from a run on few signs, as in the quickstart: `python notebooks/pictures.py`.

Writes `images/before-after.png` and `images/report.png`; the report is opened in the program chromium.
"""

import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image
from small import QUICK, few_signs, pixels, strip

from elixir.api import poison, sanitize
from elixir.data.output_images import OutputImages

IMAGES = Path(__file__).parent / "images"
SAMPLES = 12
FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--window-size=1400,1800")


def draw(home: Path) -> None:
    """Draw both, with the files of the run in the folder `home`."""
    poison(few_signs(home / "signs"), home / "poisoned", "badnets", "stop", rate=0.15)
    table = sanitize(home / "poisoned", home / "clean", settings=QUICK).table
    pictures = OutputImages(home / "clean", table)
    changed = [row for row, action in enumerate(table["action"].to_pylist()) if action == "relabelled"]
    shown = changed[:: max(1, len(changed) // SAMPLES)][:SAMPLES]
    both = ([pixels(read(row)) for row in shown] for read in (pictures.before, pictures.after))
    IMAGES.mkdir(exist_ok=True)
    strip(*both).save(IMAGES / "before-after.png", optimize=True)
    file, report = IMAGES / "report.png", home / "clean" / ".elixir" / "report.html"
    subprocess.run(["chromium", *FLAGS, f"--screenshot={file}", report.as_uri()], check=True, capture_output=True)
    Image.open(file).convert("RGB").quantize().save(file, optimize=True)


if __name__ == "__main__":
    with TemporaryDirectory(prefix="elixir-") as folder:
        draw(Path(folder))
