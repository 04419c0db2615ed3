"""A line to a parent who neither reads along nor asks for anything."""

from __future__ import annotations

import io

from autotune.bench.line import Line

NOBODY = Line(io.StringIO(), io.StringIO())
