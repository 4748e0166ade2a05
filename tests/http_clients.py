"""The TLS context of the tests' HTTP clients."""

import ssl

TLS_CONTEXT = ssl.create_default_context()  # made once, in 20 ms: each client would make its own, and use none
