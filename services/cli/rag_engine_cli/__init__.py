"""The command line: `rag-engine …`. `main.py` is the first file to read."""

from __future__ import annotations
