import http.server
import threading

import pytest

from semart_hf.collection import sources
from semart_hf.collection.sources import fetch_picture


@pytest.fixture
def server():
    """A server that answers by its table of status and body, one after the other, and keeps what it was asked."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            status, body = answers[min(len(asked), len(answers)) - 1]
            self.send_response(status)
            if status == 302:
                self.send_header("Location", body)
            self.send_header("Content-Length", str(0 if status == 302 else len(body)))
            self.end_headers()
            self.wfile.write(b"" if status == 302 else body)

        def log_message(self, *arguments):
            pass

    answers, asked = [], []
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, args=[0.01], daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}", answers, asked
        running.shutdown()


@pytest.fixture
def public(monkeypatch):
    """Whatever address counts as public, and nobody waits."""
    monkeypatch.setattr(sources, "_check_public", lambda connection: None)
    monkeypatch.setattr(sources, "PAUSES", (0.0, 0.0))


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
def test_nothing_is_asked_of_this_machine(server, host, monkeypatch):
    monkeypatch.setattr(sources, "PAUSES", ())
    address, answers, asked = server
    answers.append((200, b"secret"))
    with pytest.raises(OSError, match=r"cannot be fetched: .*(private address|refused)"):
        fetch_picture(address.replace("127.0.0.1", host) + "/a.jpg")
    assert asked == []


def test_a_busy_server_is_asked_three_times_one_without_the_picture_once_a_service_for_its_image(server, public):
    address, answers, asked = server
    answers += [(503, b""), (429, b""), (200, b"picture"), (404, b""), (503, b"")]
    assert fetch_picture(f"{address}/a.jpg") == b"picture"
    for name, status in (("b", "404"), ("c", "503")):
        with pytest.raises(OSError, match=status):
            fetch_picture(f"{address}/{name}.jpg")
    assert asked == ["/a.jpg"] * 3 + ["/b.jpg"] + ["/c.jpg"] * 3
    asked.clear()
    answers[:] = [(200, b"picture")]
    for url in ("/iiif/2/abc", "/iiif/2/abc/info.json", "/iiif/2/abc/full/843,/0/default.jpg", "/iiif.jpg"):
        fetch_picture(address + url)
    image = "/iiif/2/abc/full/!1024,1024/0/default.jpg"
    assert asked == [image, image, "/iiif/2/abc/full/843,/0/default.jpg", "/iiif.jpg"]


def test_a_redirection_leads_to_no_private_address(server, monkeypatch):
    address, answers, asked = server
    answers += [(302, f"{address}/secret"), (200, b"secret")]
    checked = []

    def check(connection):
        checked.append(connection.host)
        if len(checked) > 1:
            raise PermissionError("private address")

    monkeypatch.setattr(sources, "_check_public", check)
    with pytest.raises(OSError, match="private address"):
        fetch_picture(f"{address}/a.jpg")
    assert asked == ["/a.jpg"]
