"""One ASGI application from the packages' routers: middlewares, guard, problems, pages, server."""
