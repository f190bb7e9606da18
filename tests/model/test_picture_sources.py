import base64
import contextlib
import gzip
import http.server
import threading
import time
from urllib.parse import quote

import pytest
from PIL import Image
from release_builder import encoded

from semart_hf.model import picture_sources_semart
from semart_hf.model.pictures_semart import PictureError, load_picture

PNG = encoded(Image.new("RGB", (8, 8), (0, 0, 200)), "PNG")
NAMES = ("/hare.png", "/Young Hare.png", "/D\u00fcrer.png", "/100% wool.png", "/a+b,c;d=(e)'f'.png")
FOUND = {"/login", "/slow", "/search?q=D%C3%BCrer&n=1", *(quote(name, safe="/+,;=()'") for name in NAMES)}


class _Museum(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        headers, content, status = {"Content-Length": str(len(PNG))}, PNG, 200
        if self.path == "/login" and self.headers["Authorization"] != "Basic " + base64.b64encode(b"me:p ss").decode():
            status = 401
        elif self.path == "/redirect":
            status, headers, content = 302, {"Location": quote(NAMES[2]), "Content-Length": "0"}, b""
        elif self.path in ("/gzip", "/bomb"):
            content = gzip.compress(PNG if self.path == "/gzip" else bytes(1 << 20))
            headers = {"Content-Encoding": "gzip", "Content-Length": str(len(content))}
        elif self.path == "/broken":
            headers = {"Content-Length": str(len(PNG) + 10)}
        elif self.path == "/page":
            headers, content = {}, b"<!DOCTYPE html><title>no</title>"
        elif self.path not in FOUND:
            status = 404
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.path == "/slow":
            with contextlib.suppress(BrokenPipeError):  # nobody waits any more
                for place in range(len(PNG)):
                    self.wfile.write(PNG[place : place + 1])
                    time.sleep(0.05)
        else:
            self.wfile.write(content)

    def log_message(self, *arguments):
        pass


@pytest.fixture(scope="module")
def museum():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("no_proxy", "*")
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Museum)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    "path",
    [*NAMES, quote(NAMES[1]), quote(NAMES[2]), "/search?q=D\u00fcrer&n=1", "/redirect", "/gzip", "/hare.png#top", " "],
)
def test_addresses_as_people_write_them_are_fetched(museum, path):
    url = f" {museum}/hare.png\n" if path == " " else museum + path
    assert load_picture(url).getpixel((4, 4)) == (0, 0, 200)


def test_names_of_hosts_and_passwords(museum):
    assert load_picture(f"{museum.replace('127.0.0.1', 'LOCALHOST').replace('http', 'HTTP')}/hare.png").size == (8, 8)
    assert load_picture(f"{museum.replace('//', '//me:p%20ss@')}/login").size == (8, 8)
    with pytest.raises(PictureError, match="HTTP Error 401") as caught:
        load_picture(f"{museum.replace('//', '//me:secret@')}/login")
    assert "secret" not in str(caught.value)
    with pytest.raises(PictureError, match=r"m\u00fcnchen\.invalid"):
        load_picture("http://m\u00fcnchen.invalid/a.jpg")


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/nothing.jpg", "cannot be fetched: HTTP Error 404"),
        ("/broken", "cannot be fetched: the connection broke off after"),
        ("/page", "a web page"),
        ("/bomb", "it has more than 100,000 bytes, the most that is fetched"),
        ("/slow", "not answered in full within 0.3 seconds"),
    ],
)
def test_what_cannot_be_fetched_is_an_error(museum, path, reason, monkeypatch):
    monkeypatch.setattr(picture_sources_semart, "MAX_DOWNLOAD", 100_000)
    monkeypatch.setattr(picture_sources_semart, "DOWNLOAD_SECONDS", 0.3 if path == "/slow" else 60)
    started = time.monotonic()
    with pytest.raises(PictureError, match=f"{path}' cannot be read: .*{reason}.* Allowed are"):
        load_picture(museum + path)
    assert time.monotonic() - started < 30


@pytest.mark.parametrize("url", ["http://", "http://[::1", "http://host:port/a.jpg", "https://\0/", "http://.."])
def test_what_is_no_address_is_an_error(url):
    with pytest.raises(PictureError, match="cannot be fetched"):
        load_picture(url)
