"""The REST service: documents in, answers out, over HTTP. `app.py` is the first file."""

from __future__ import annotations
