from __future__ import annotations

import sys
from pathlib import Path

# `benchmarks` is not installed. At the end of the path, so that the folders beside it shadow nothing.
sys.path.append(str(Path(__file__).parents[3]))
