"""Draws the pictures of the README: `elixir demo -o demo && python notebooks/pictures.py demo/clean`.

Writes `images/before-after.png` and, with the program chromium, `images/report.png` from what `elixir sanitize` has left.
"""

import shutil
import subprocess
import sys
from pathlib import Path

from PIL import Image
from small import pixels, strip

from elixir.data.output_images import OutputImages
from elixir.result import read_result

IMAGES = Path(__file__).parent / "images"
SAMPLES = 12
COLOURS = 128  # of the page, which is kept small


def main(dst: Path) -> None:
    """Draw both from the output `dst`, an absolute path."""
    IMAGES.mkdir(exist_ok=True)
    table = read_result(dst).table
    pictures = OutputImages(dst, table)
    changed = [row for row, action in enumerate(table["action"].to_pylist()) if action == "relabelled"]
    shown = changed[:: max(1, len(changed) // SAMPLES)][:SAMPLES]
    both = ([pixels(read(row)) for row in shown] for read in (pictures.before, pictures.after))
    strip(*both).save(IMAGES / "before-after.png", optimize=True)
    if browser := shutil.which("chromium"):
        file = IMAGES / "report.png"
        size, report = "--window-size=1100,1400", dst / ".elixir" / "report.html"
        flags = ("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", size, f"--screenshot={file}")
        subprocess.run([browser, *flags, report.as_uri()], check=True, capture_output=True)
        Image.open(file).convert("RGB").quantize(COLOURS).save(file, optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
