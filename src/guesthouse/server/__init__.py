"""The HTTP side of a host: invoke API, uploads, status page; what interfaces mount comes beside it.

Needs nothing but the core's dependencies; see docs/http.md for the API.
"""

from guesthouse.server.access import Access
from guesthouse.server.gateway import DEFAULT_LISTEN, Gateway

__all__ = ["DEFAULT_LISTEN", "Access", "Gateway"]
