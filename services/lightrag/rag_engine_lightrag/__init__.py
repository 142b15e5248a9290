"""The service that indexes: workers over all workspaces of a store. `pool.py` is the first file."""

from __future__ import annotations
