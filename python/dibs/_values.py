# SPDX-License-Identifier: MIT
"""What callers give, as dibsd wants it. Invalid with a sentence if it is no such thing."""

from __future__ import annotations

import math
import os
import re
from datetime import datetime, timedelta
from typing import Iterable, List, Optional, Union

from ._records import EPOCH
from ._varlink import Invalid

Duration = Union[str, int, float, timedelta]  # "4h", "1h30m", seconds
Size = Union[str, int]  # "40G", MiB
Gpus = Union[int, str, Iterable[Union[int, str]]]  # indices, UUIDs

_UNITS = {"w": 604800, "d": 86400, "h": 3600, "m": 60, "s": 1}
_DURATION = re.compile(r"(?:(\d+)w)?(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?", re.ASCII)
_SIZE = re.compile(r"(\d{1,15})([MGT])(?:i?B)?", re.ASCII | re.IGNORECASE)
_LONGEST = 3650 * 86400


def invalid(message: str) -> Invalid:
    return Invalid("usage.value", message)


def _seconds(name: str, value: Duration) -> float:
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
        return value
    match = _DURATION.fullmatch(value) if isinstance(value, str) and len(value) < 60 else None
    if value and match:
        return sum(int(n) * unit for n, unit in zip(match.groups("0"), _UNITS.values()))
    raise invalid(f"{name} takes seconds, a timedelta, or a duration as 90s, 30m, 4h, 2d, 1w or 1h30m, not {value!r}")


def microseconds(name: str, value: Optional[Duration], least: int = 1) -> Optional[int]:
    if value is None:
        return None
    seconds = _seconds(name, value)
    if seconds > _LONGEST:
        raise invalid(f"{name}: {value!r} is too long; ten years are the limit")
    if seconds * 1e6 < least:
        raise invalid(f"{name} must be longer than nothing, not {value!r}")
    return int(seconds * 1e6)


def mebibytes(name: str, value: Optional[Size]) -> Optional[int]:
    if value is None:
        return None
    match = _SIZE.fullmatch(value) if isinstance(value, str) else None
    if match:
        value = int(match[1]) << {"M": 0, "G": 10, "T": 20}[match[2].upper()]
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise invalid(f"{name} takes MiB, or a size with its unit as 24G or 8192M, not {value!r}")
    return value


def count(name: str, value: Optional[int]) -> Optional[int]:
    if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
        raise invalid(f"{name} takes a whole number from 1 on, not {value!r}")
    return value


def texts(name: str, value: Optional[Gpus]) -> Optional[List[str]]:
    """A list of names. A text may have several, with commas."""
    if value is None:
        return None
    if isinstance(value, (int, str)):
        value = [value]
    try:
        names = [word.strip() for member in value for word in str(member).split(",")]
    except TypeError:
        names = []
    if not names or not all(names):
        raise invalid(f"{name} takes names, not {value!r}")
    return names


def moment(name: str, value: Union[None, datetime, Duration]) -> Optional[int]:
    """Microseconds since 1970. A datetime that is not aware is of the local time zone; anything else is from now on."""
    if value is None:
        return None
    if not isinstance(value, datetime):
        value = datetime.now().astimezone() + timedelta(microseconds=microseconds(name, value) or 0)
    return (value.astimezone() - EPOCH) // timedelta(microseconds=1)


def path(value: "Union[str, os.PathLike[str]]") -> str:
    return os.path.abspath(os.path.expanduser(os.fspath(value)))
