"""What stands between the network and the application, as plain ASGI: Starlette's own kind of
middleware hides from it that a client hung up."""

from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from typing import Any

from starlette.responses import JSONResponse

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


class Observer:
    """Tells `observe` the route and the status of each answer, and adds a header to it: browsers
    are not to guess what a file is."""

    def __init__(self, app: App, observe: Callable[[str, int], None]):
        self._app, self._observe = app, observe

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def sending(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [
                    *message.get("headers", ()), (b"x-content-type-options", b"nosniff")
                ]  # fmt: skip
                route = scope.get("route")
                self._observe(getattr(route, "path", "other"), message["status"])
            await send(message)

        await self._app(scope, receive, sending)


class _TooLarge(Exception):  # noqa: N818 (caught below, seen by nobody)
    pass


class BodyLimit:
    """Refuses requests that are too large while they arrive, not once they are held in memory.

    most: bytes of a request's body."""

    def __init__(self, app: App, most: int):
        self._app, self._most = app, most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        announced = dict(scope["headers"]).get(b"content-length", b"0")
        if announced.isdigit() and int(announced) > self._most:
            await self._refuse(scope, receive, send)
            return
        got, answered = 0, False

        async def counted() -> MutableMapping[str, Any]:
            nonlocal got
            message = await receive()
            got += len(message.get("body", b""))
            if got > self._most:
                raise _TooLarge
            return message

        async def sending(message: MutableMapping[str, Any]) -> None:
            nonlocal answered
            # What the application makes of a body that was cut off is no answer.
            if answered or got <= self._most:
                answered = True
                await send(message)

        with suppress(_TooLarge):
            await self._app(scope, counted, sending)
        if got > self._most and not answered:
            await self._refuse(scope, receive, send)

    async def _refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        text = f"a request has at most {self._most / 1e6:g} MB; send smaller or fewer pictures"
        answer = JSONResponse({"error": text}, 413, headers={"Connection": "close"})
        await answer(scope, receive, send)
