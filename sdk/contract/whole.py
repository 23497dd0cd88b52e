"""Whole numbers as they may stand in a record. Pure."""

from typing import Annotated

import msgspec

#: Whole numbers that every JSON reader keeps exactly, sums of two included in 64 bits; what lies outside is no
#: record of ours.
Whole = Annotated[int, msgspec.Meta(ge=-(1 << 53), le=1 << 53)]
