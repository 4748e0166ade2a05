"""Limits on the number of requests. Each response carries the policy, and the requests that are left."""

import asyncio

from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPScope, Message, Receive, Scope, Send

from gallery.access.service import Access
from gallery.adapters.valkey.rates import RateClass
from gallery.errors import TooManyRequests, Unauthorized, Unavailable, ValkeyUnavailable
from gallery.ops import metrics
from gallery.web.authentication import authenticated_caller, credentials_of
from gallery.web.problems import send_problem
from gallery.web.request_limits import (
    COUNT_KEY,
    SETTING_NAMES,
    CountedRequest,
    Counter,
    RequestLimits,
    client_address,
    set_counter,
)
from gallery.web.routing import extensions, route_of


class RateLimiter:
    """Counts each request once, when it begins; a stream is one request. It authenticates the caller first, and the
    auth guard reuses the result: `authenticated_caller`.
    """

    def __init__(self, app: ASGIApp, limits: RequestLimits, access: Access) -> None:
        self._app = app
        self._limits = limits
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        rate_class = route_of(scope).opt.get("rate", RateClass.REQUESTS) if scope["type"] == ScopeType.HTTP else None
        if scope["type"] != ScopeType.HTTP or rate_class is None:
            await self._app(scope, receive, send)
            return
        try:
            count = await self._count(scope, rate_class)
        except ValkeyUnavailable as error:
            await send_problem(scope, send, error)
            return
        if count is None:
            await self._app(scope, receive, send)
        elif count.verdict.allowed:
            await self._app(scope, receive, _with_headers(send, count))
        else:
            await _refuse(scope, send, count)

    async def _count(self, scope: HTTPScope, rate_class: RateClass) -> CountedRequest | None:
        """A credential that this process has not verified before first costs its address a request, since verifying it
        costs a query or a signature. If it is valid, the address gets that request back.

        The result is that of `RequestLimits.count`.
        """
        found = extensions(scope)
        if COUNT_KEY in found:  # by the response cache
            count: CountedRequest | None = found[COUNT_KEY]
            return count
        address = client_address(scope)
        if self._access.is_verified(credentials_of(scope)):
            counter = await self._find_counter(scope, rate_class)
            return await self._limits.count(counter or Counter(rate_class, None), address)
        guess = await self._limits.count_guess(address)
        if guess is None or not guess.verdict.allowed:
            return guess
        counter = await self._find_counter(scope, rate_class)
        if counter is None or counter == Counter(RateClass.REQUESTS, None):
            return guess
        _, counted = await asyncio.gather(self._limits.refund(guess), self._limits.count(counter, address))
        return counted

    async def _find_counter(self, scope: HTTPScope, rate_class: RateClass) -> Counter | None:
        """`None` if the caller's credential is not valid or cannot be verified; the auth guard raises that again."""
        try:
            caller = await authenticated_caller(self._access, scope)
        except (Unauthorized, Unavailable):
            return None
        group = caller.upload_group if rate_class is RateClass.UPLOADS else None
        counter = Counter(rate_class, caller.rate_limit_key, group)
        set_counter(scope, counter)
        return counter


def _with_headers(send: Send, count: CountedRequest) -> Send:
    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message["headers"], *count.headers]
        await send(message)

    return send_with_headers


async def _refuse(scope: HTTPScope, send: Send, count: CountedRequest) -> None:
    retry_after = (b"retry-after", b"%d" % count.verdict.retry_after)
    metrics.RATE_LIMITED.add(count.rate_class)
    refused = TooManyRequests(
        kind=count.rate_class,
        who=count.client,
        requests=count.policy.limit.requests,
        seconds=count.policy.limit.seconds,
        setting=SETTING_NAMES[count.rate_class],
        retry=count.verdict.retry_after,
    )
    await send_problem(scope, send, refused, [*count.headers, retry_after])
