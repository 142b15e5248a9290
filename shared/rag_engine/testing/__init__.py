"""What an adapter's author needs to hold an adapter to the ports' words; needs pytest and hypothesis.

Subclass `ControlContract`, `StoreContract`, `ReaderContract`, `SearchContract`, `EditsContract`,
`ListingContract`, `ContentsContract`, `QueueContract` and `BlobsContract` in a test module and
provide the fixtures `control` (a `Place`) and `blobs`. The tests are coroutines: set `asyncio_mode = "auto"` of pytest-asyncio. For readable failures call
`pytest.register_assert_rewrite("rag_engine.testing")` before they are imported.

What goes wrong on demand: `faults` wraps any port (error, timeout, slow, applied-then-timeout),
`crash_points` kills the process at a named point, `openai_server` speaks the OpenAI protocol badly.
`simulation` runs asyncio code in one exact way, told by a seed, with killed and paused processes.
"""

from __future__ import annotations
