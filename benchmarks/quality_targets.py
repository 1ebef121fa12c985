"""What SpiderEye360 and spherical fusion have to reach, and whether measured rows do.

Part of benchmarks/quality.py, which prints it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from quality_rows import MODEL, ONE_RADIUS, WINNER

STITCH = "stitch"
CALIBRATED = "stitch + gain + rotation"
BEST_SPHERE = "stitch on its best sphere"
ONE_STEP, TWELVE_STEPS = f"{MODEL}, 1 step", f"{MODEL}, 12 steps"

# (row of the table, method) to protocol to metric to the mean of each seed.
Means = Mapping[tuple[str, str], Mapping[str, Mapping[str, Sequence[float]]]]


@dataclass(frozen=True)
class Target:
    """`one` is to be better than `other` by `asked` dB; within: they are to differ by no more.

    one, other: row and method.   above: more than `asked` is to be reached, not just `asked`.
    """

    one: tuple[str, str]
    other: tuple[str, str]
    protocol: str
    metric: str
    asked: float
    within: bool = False
    above: bool = False

    @property
    def text(self) -> str:
        names = [" ".join(dict.fromkeys(pair)) for pair in (self.one, self.other)]
        return f"{names[0]} vs {names[1]}: {self.protocol} {self.metric}"

    @property
    def wanted(self) -> str:
        if self.within:
            return f"within {self.asked:g} dB"
        return f"{'>' if self.above else '≥'} {self.asked:+g} dB"

    def met(self, measured: float) -> bool:
        if self.within:
            return abs(measured) <= self.asked
        return measured > self.asked if self.above else measured >= self.asked


def _compared(one, other, *asked: float) -> list[Target]:
    """For PSNR on clean views, PSNR and aligned PSNR on jittered ones."""
    where = (("clean", "PSNR"), ("jitter", "PSNR"), ("jitter", "aligned PSNR"))
    return [
        Target(one, other, protocol, metric, value)
        for (protocol, metric), value in zip(where, asked, strict=True)
    ]


_OURS = (WINNER, ONE_STEP)
_TWELVE = (WINNER, TWELVE_STEPS)
TARGETS = (
    *_compared(("spherical", ONE_STEP), ("concat_conv", ONE_STEP), 3.0, 1.5, 2.0),
    *_compared(_OURS, (STITCH, STITCH), 0.5, 2.8, 4.3),
    *_compared(_OURS, (CALIBRATED, CALIBRATED), 0.5, 0.1, 0.3),
    Target(_OURS, (CALIBRATED, CALIBRATED), "parallax", "PSNR", 1.0),
    Target(_OURS, (STITCH, STITCH), "parallax", "PSNR", 1.0),
    Target(_OURS, (BEST_SPHERE, BEST_SPHERE), "parallax", "PSNR", 0.0, above=True),
    Target(_OURS, (ONE_RADIUS, ONE_STEP), "parallax", "PSNR", 0.0, above=True),
    Target(_TWELVE, _OURS, "clean", "PSNR", 1.5, within=True),
    Target(_TWELVE, _OURS, "jitter", "PSNR", 1.5, within=True),
)
SIZE = 64  # of the views for which the numbers are asked


@dataclass(frozen=True)
class Outcome:
    """A target's line. measured: the mean over seeds; worst: of the worst seed; None: a row is
    missing."""

    text: str
    wanted: str
    measured: float | None
    worst: float | None
    met: bool | None

    @property
    def cells(self) -> tuple[str, str, str, str]:
        if self.measured is None:
            return self.text, self.wanted, "not measured", "–"
        shown = f"{self.measured:+.2f}"
        if self.worst is not None and abs(self.worst - self.measured) > 5e-3:
            shown += f" (worst seed {self.worst:+.2f})"
        return self.text, self.wanted, shown, "yes" if self.met else "NO"


def outcomes(means: Means, size: int = SIZE) -> list[Outcome]:
    """What became of every target. size: of the views; at other sizes than SIZE the same order is
    asked for, not the numbers, and no more of many steps."""
    found = []
    for asked in TARGETS:
        target = asked
        if size != SIZE and not asked.within:
            target = Target(asked.one, asked.other, asked.protocol, asked.metric, 0.0, above=True)
        ones, others = (
            means.get(key, {}).get(target.protocol, {}).get(target.metric, ())
            for key in (target.one, target.other)
        )
        if not ones or not others:
            found.append(Outcome(target.text, target.wanted, None, None, None))
            continue
        # Of two rows of as many seeds each seed is compared with its own.
        paired = others if len(others) == len(ones) else [sum(others) / len(others)] * len(ones)
        gains = [a - b for a, b in zip(ones, paired, strict=True)]
        measured = sum(gains) / len(gains)
        worst = max(gains, key=abs) if target.within else min(gains)
        found.append(Outcome(target.text, target.wanted, measured, worst, target.met(measured)))
    return found
