"""What a set of any size costs: core or GPU hours, disk and memory, as Markdown, from what one sample costs.

    python notebooks/scale/costs.py

The figures below were measured; where and how stands in README.md beside this file. GFLOP and pixel caches grow with
the pixels of the working size, all else with the samples alone.
"""

from dataclasses import dataclass

GFLOP_AT_32 = 8.8, 12.0  # a sample, all networks, trainings included, of 13,070: none under attack, BadNets 10 %
CORE = 65.0  # GFLOP/s of one AVX2 core in these networks
GPU = 50_000.0  # GFLOP/s, an assumption: a twentieth of what an H100 can do in bf16
DECODED = 1_010.0  # photographs of 224 pixels a second, by one thread
WRITTEN = 2_200.0  # samples a second of the stage write, one process
COLUMNS, MANIFEST = 700.0, 84.0  # bytes a sample in the work folder, with 256 features; of the evidence
BASE, RESIDENT = 0.63e9, 115.0  # bytes in memory: of the process; a sample
PHOTOGRAPH = 20_000.0  # bytes of a JPEG of 224 pixels


@dataclass(frozen=True)
class Costs:
    """Of cleaning so many photographs, looked at with so many pixels a side."""

    samples: float
    side: int

    @property
    def gflop(self) -> tuple[float, float]:
        """Of all networks: no label under attack, and one."""
        clean, attacked = (self.samples * each * (self.side / 32) ** 2 for each in GFLOP_AT_32)
        return clean, attacked

    @property
    def cached(self) -> float:
        """Bytes in the work folder: the images at the working size and once purified, and all columns."""
        return self.samples * (2 * 3 * self.side**2 + COLUMNS)

    def row(self) -> str:
        """All of it as a line of a table."""
        clean, attacked = (each / 3600 for each in self.gflop)
        cells = [
            f"{self.samples:,.0f}",
            f"{self.side}",
            f"{clean / CORE:,.0f} to {attacked / CORE:,.0f}",
            f"{clean / GPU:,.2f} to {attacked / GPU:,.2f}",
            f"{self.samples / DECODED / 3600:,.1f}",
            f"{self.samples / WRITTEN / 3600:,.1f}",
            f"{self.cached / 1e9:,.0f}",
            f"{self.samples * (PHOTOGRAPH + MANIFEST) / 1e9:,.0f}",
            f"{self.samples * MANIFEST / 1e9:,.1f}",
            f"{(BASE + self.samples * RESIDENT) / 1e9:,.1f}",
        ]
        return f"| {' | '.join(cells)} |"


HEAD = """\
| photographs | pixels | core hours in networks | GPU hours | core hours decoding | hours of writing | \
work folder, GB | output as copies, GB | output as links, GB | memory, GB |
|---|---|---|---|---|---|---|---|---|---|"""


if __name__ == "__main__":
    print(HEAD)
    for samples in (1e6, 1e8):
        for side in (32, 64, 224):
            print(Costs(samples, side).row())
