"""Options of the measures of `eval`: top-k, two classes, and bootstrap intervals."""

from __future__ import annotations

from dataclasses import dataclass

from inceptcli.errors import UsageError

DEFAULT_THRESHOLD = 0.5
FEWEST_RESAMPLES, MOST_RESAMPLES = 100, 10_000


@dataclass(frozen=True)
class MeasureOptions:
    """Values of the flags of these names; None if not given.

    Attributes:
        top_k: Report top-k accuracy for this k, too.
        positive: Id, name or index of the positive one of two classes.
        threshold: Probability from which an image is positive, 0 to 1.
        sensitivity: Choose the threshold that reaches this sensitivity, above 0 and at most 1.
        specificity: Choose the threshold that reaches this specificity, above 0 and at most 1.
        bootstrap: Number of resamples for intervals of all measures.
        group: Column of the CSV file of labels; whole groups are drawn.
        coverage: Coverage of the prediction sets; by default USUAL_COVERAGE, if the calibration of
            the weights can give it.
    """

    top_k: int | None = None
    positive: str | None = None
    threshold: float | None = None
    sensitivity: float | None = None
    specificity: float | None = None
    bootstrap: int | None = None
    group: str | None = None
    coverage: float | None = None

    def __post_init__(self) -> None:
        """Raise UsageError for a value out of range, and for options that exclude each other."""
        if self.top_k is not None and self.top_k < 1:
            raise UsageError(f"--top-k {self.top_k}: must be at least 1")
        if self.threshold is not None and not 0 <= self.threshold <= 1:
            raise UsageError(f"--threshold {self.threshold}: must be 0 to 1")
        for name in ("sensitivity", "specificity"):
            wanted = getattr(self, name)
            if wanted is not None and not 0 < wanted <= 1:
                raise UsageError(f"--{name} {wanted}: must be above 0 and at most 1")
        thresholds = ("threshold", "sensitivity", "specificity")
        given = [f"--{name}" for name in thresholds if getattr(self, name) is not None]
        if len(given) > 1:
            raise UsageError(f"{' and '.join(given)}: each sets the threshold; give one of them")
        if self.bootstrap is None and self.group is not None:
            raise UsageError(f"--group {self.group}: is for intervals; give --bootstrap N, too")
        if self.bootstrap is not None and not (
            FEWEST_RESAMPLES <= self.bootstrap <= MOST_RESAMPLES
        ):
            raise UsageError(
                f"--bootstrap {self.bootstrap}: must be {FEWEST_RESAMPLES} to {MOST_RESAMPLES}"
            )

    @property
    def flag_for_two_classes(self) -> str | None:
        """Return the first given flag that needs two classes, with its value; None if none is."""
        for name in ("positive", "threshold", "sensitivity", "specificity"):
            if (value := getattr(self, name)) is not None:
                return f"--{name} {value}"
        return None


DEFAULT_MEASURES = MeasureOptions()
