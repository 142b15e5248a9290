"""`python -m rag_engine_cli` is `rag-engine`."""

from __future__ import annotations

from rag_engine_cli.main import main

main()
