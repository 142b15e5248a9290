"""What stands around the application and looks at responses as they begin."""

from __future__ import annotations

from collections.abc import Callable

from starlette.types import Message, Send


def as_it_begins(send: Send, act: Callable[[Message], None]) -> Send:
    """`send`, with something done to the message that has a response's status and headers."""

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            act(message)
        await send(message)

    return sending
