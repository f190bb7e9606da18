"""Pictures behind URLs: of public addresses alone, within limits of size and time, tried again where that may help."""

import ipaddress
import re
import time
import urllib.error
import urllib.request
from typing import Any

from semart_hf.model.picture_sources_semart import download

#: Seconds before the second and the third attempt.
PAUSES = (1.0, 4.0)
# A IIIF image service without a request: its base address, or that of its description.
_IIIF_BASE = re.compile(r"(https?://.*/iiif/.*?)(?:/info\.json)?/?$", re.IGNORECASE)
_IIIF_REQUEST = re.compile(r"/[^/]+/[^/]+/!?\d+/(?:default|color|gray|bitonal|native)\.\w+$")
_PICTURE_SIDE = 1024


def fetch_picture(url: str) -> bytes:
    """The bytes of a picture on the web, or of the image of a IIIF service, about 1,024 pixels large.

    Source: IIIF Image API 3.0, https://iiif.io/api/image/3.0/#4-image-requests
    """
    base = _IIIF_BASE.match(url)
    if base and not _IIIF_REQUEST.search(url):
        url = f"{base[1]}/full/!{_PICTURE_SIDE},{_PICTURE_SIDE}/0/default.jpg"
    opener = urllib.request.build_opener(_PublicHosts)
    pauses = iter(PAUSES)
    while True:
        try:
            return download(url, opener)
        except OSError as error:
            pause = next(pauses, None)
            if pause is None or not _may_pass(error.__cause__ or error):
                raise OSError(f"The picture {url} cannot be fetched: {error}") from error
            time.sleep(pause)


def _may_pass(error: BaseException) -> bool:
    """Whether another attempt may succeed: the server is busy, or the connection broke off."""
    if isinstance(error, urllib.error.HTTPError):
        return error.code in (429, 500, 502, 503, 504)
    kinds = (TimeoutError, ConnectionError)
    return isinstance(error, kinds) or isinstance(getattr(error, "reason", None), kinds) or "broke off" in str(error)


class _PublicHosts(urllib.request.HTTPHandler, urllib.request.HTTPSHandler):
    def do_open(self, http_class: Any, req: urllib.request.Request, **http_conn_args: Any) -> Any:
        class Public(http_class):
            def connect(self) -> None:
                super().connect()
                _check_public(self)

        return super().do_open(Public, req, **http_conn_args)


def _check_public(connection: Any) -> None:
    """Refuse a connection to this machine or its network by its own address: a name looked up twice could give two."""
    address = ipaddress.ip_address(connection.sock.getpeername()[0].split("%")[0])
    if not (getattr(address, "ipv4_mapped", None) or address).is_global:
        connection.close()
        raise PermissionError(f"{connection.host} has the private address {address}; only public ones are fetched")
