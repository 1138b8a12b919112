# SPDX-License-Identifier: MIT
"""One line of the table, and how it comes out of samples."""

import dataclasses
from statistics import median


def digits(value):
    """Three digits that mean something, never an exponent."""
    size = abs(value)
    places = 0 if size >= 100 else 1 if size >= 10 else 2 if size >= 1 else 3
    return f"{value:.{places}f}"


def ms(ns):
    return f"{digits(ns / 1e6)} ms"


def microseconds(ns):
    return f"{digits(ns / 1e3)} us"


def megabytes(n):
    return f"{digits(n / 1e6)} MB"


@dataclasses.dataclass
class Row:
    """What was measured, what stands beside it, how the two compare, and whether that keeps the budget."""
    what: str
    measured: str
    beside: str = ""
    beside_what: str = ""
    compared: str = ""
    budget: str = ""
    kept: bool | None = None  # None: there is no budget
    note: str = ""
    values: dict = dataclasses.field(default_factory=dict)  # the bare numbers, for programs

    def as_json(self):
        return dataclasses.asdict(self)


def difference(what, samples, beside_what, beside, budget_ms=None, note=""):
    """Samples (nanoseconds) that were taken in turns: the median of what each took longer than the one beside it."""
    longer = median(a - b for a, b in zip(samples, beside))
    return Row(what, ms(median(samples)), ms(median(beside)), beside_what, f"{longer / 1e6:+.2f} ms",
               f"<= {budget_ms} ms more" if budget_ms else "", longer <= budget_ms * 1e6 if budget_ms else None, note,
               {"unit": "ns", "measured": median(samples), "beside": median(beside), "difference": longer,
                "samples": len(samples)})


def ratio(what, samples, beside_what, beside, note=""):
    """Samples (nanoseconds): how many times as fast as what is beside it."""
    times = median(beside) / median(samples)
    return Row(what, ms(median(samples)), ms(median(beside)), beside_what, f"{digits(times)} x as fast", note=note,
               values={"unit": "ns", "measured": median(samples), "beside": median(beside), "ratio": times,
                       "samples": len(samples)})


def limit(what, samples, budget_ms, note=""):
    """Samples (nanoseconds) whose median is to be below a limit."""
    return Row(what, ms(median(samples)), budget=f"<= {budget_ms} ms", kept=median(samples) <= budget_ms * 1e6,
               note=note, values={"unit": "ns", "measured": median(samples), "samples": len(samples)})


def memory(what, n, budget_mb, note=""):
    return Row(what, megabytes(n), budget=f"<= {budget_mb} MB", kept=n <= budget_mb * 1e6, note=note,
               values={"unit": "bytes", "measured": n})
