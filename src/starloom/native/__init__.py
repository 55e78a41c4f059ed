"""A few kernels in C11 behind one thin binding, each with a readable NumPy twin that takes its place where it must.

`line_statistics(data, offsets)` counts lines, characters and letters of many documents at once, as `str.splitlines`,
`len` and `str.isalnum` count them; `arrow_line_statistics(array)` does so for a column of text. `status()` says what
computes here, `use(name)` chooses.
"""

from starloom.native.library import Status, choices, status, use
from starloom.native.lines import LineStatistics, arrow_line_statistics, line_statistics

__all__ = ["LineStatistics", "Status", "arrow_line_statistics", "choices", "line_statistics", "status", "use"]
