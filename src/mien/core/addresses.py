"""Addresses of hosts and of streams: what counts as one, and how it may be printed."""

import re
from ipaddress import ip_address

URL = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)
SECRETS = re.compile(r"([?&;#][\w.-]*(?:pass|pwd|token|key|secret|auth|sig)[\w.-]*=)[^&;#\s]*", re.IGNORECASE)


def shown(source: str) -> str:
    """A source as it may be printed: without the passwords that a camera's address holds.

    Rather too much is covered than too little: a password may hold any character.
    """
    if not URL.match(source):
        return source
    return SECRETS.sub(r"\1***", re.sub(r"(://[^:@?#]*):.*@", r"\1:***@", source))


def is_ip_address(host: str) -> bool:
    """Whether it is a number and no name."""
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
