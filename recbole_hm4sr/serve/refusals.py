"""How the HTTP service refuses: sentences in JSON, and bodies that are too large unread."""

from collections.abc import Awaitable, Callable
from typing import Any

from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from recbole_hm4sr.base.errors import ConfigError, DataError, UserError


def answer_errors(app: Any) -> None:
    """Every refusal is a list of sentences; none repeats what it was sent."""

    def answer(status: int, *errors: str, headers: Any = None) -> Any:
        # Lone halves of surrogate pairs can come in by JSON's escapes, but not go out in UTF-8.
        texts = [text.encode("utf-8", "replace").decode() for text in errors]
        return JSONResponse({"errors": texts}, status_code=status, headers=headers)

    @app.exception_handler(RequestValidationError)
    def invalid(_: Any, error: RequestValidationError) -> Any:
        broken = any(problem["type"] == "json_invalid" for problem in error.errors())
        found = [
            f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}" for problem in error.errors()
        ]
        return answer(400 if broken else 422, *found[:20])

    @app.exception_handler(ConfigError)
    @app.exception_handler(DataError)
    def refused(_: Any, error: UserError) -> Any:
        return answer(422, str(error))

    @app.exception_handler(HTTPException)
    def other(_: Any, error: HTTPException) -> Any:
        return answer(error.status_code, str(error.detail), headers=error.headers)


class SizeLimit:
    """Refuses large bodies before they are read, and while they come without a stated length."""

    def __init__(self, app: Any, limit: int) -> None:
        self.app = app
        self.limit = limit

    async def __call__(
        self,
        scope: dict[str, Any],
        receive: Callable[[], Awaitable[dict[str, Any]]],
        send: Callable[[dict[str, Any]], Awaitable[None]],
    ) -> None:
        """Pass a request on with its whole body, or refuse it, as ASGI has it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        # The server has refused lengths that are no numbers.
        stated = dict(scope["headers"]).get(b"content-length", b"0")
        if int(stated) > self.limit:
            await self._refuse(scope, receive, send)
            return
        body, more = bytearray(), True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message.get("body", b"")
            more = message.get("more_body", False)
            if len(body) > self.limit:
                await self._refuse(scope, receive, send)
                return
        parts = [{"type": "http.request", "body": bytes(body), "more_body": False}]

        async def replay() -> dict[str, Any]:
            return parts.pop() if parts else await receive()

        await self.app(scope, replay, send)

    async def _refuse(self, scope: Any, receive: Any, send: Any) -> None:
        sentence = f"the body must have at most {self.limit:,} bytes"
        await JSONResponse({"errors": [sentence]}, status_code=413)(scope, receive, send)
