"""An issuer's key document (JWKS), served over HTTP."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm


class JwksDocument:
    """An issuer's answer, and the number of requests it has received."""

    def __init__(self) -> None:
        self.status, self.body, self.request_count, self.url, self.pause = 200, b"", 0, "", 0.0

    def set_keys(self, **keys) -> None:
        self.body = json.dumps({"keys": [jwk(kid, key) for kid, key in keys.items()]}).encode()


def jwk(kid: str, key) -> dict:
    kind = RSAAlgorithm if isinstance(key, rsa.RSAPrivateKey) else ECAlgorithm
    return {**kind.to_jwk(key.public_key(), as_dict=True), "kid": kid, "use": "sig"}


@asynccontextmanager
async def serve_jwks() -> AsyncIterator[JwksDocument]:
    document = JwksDocument()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        document.request_count += 1
        await asyncio.sleep(document.pause)
        writer.write(
            b"HTTP/1.1 %d X\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % (document.status, len(document.body))
            + document.body
        )
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        document.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/jwks"
        yield document
