"""Files of the hub are fetched once, and refused in one line; a server here plays the hub."""

import http.server
import sys
import threading
import time

import huggingface_hub
import pytest
from huggingface_hub import constants

from rmdnet_jax.base.errors import InputError
from rmdnet_jax.encoders.hub import fetched

COMMIT = "0123456789abcdef0123456789abcdef01234567"
CONTENT = b"a network " * 1000
FOUND = {
    "/owner/name/resolve/main/file.onnx",
    "/owner/name/resolve/main/deep/er/a%20file.onnx",
    "/owner/name/resolve/v1.0/file.onnx",
}
# The hub says in a header what its status means.
REFUSED = {
    "/owner/name/resolve/main/none.onnx": (404, "EntryNotFound"),
    "/owner/name/resolve/none/file.onnx": (404, "RevisionNotFound"),
    "/owner/none/resolve/main/file.onnx": (401, "RepoNotFound"),
    "/owner/gated/resolve/main/file.onnx": (403, "GatedRepo"),
    "/owner/broken/resolve/main/file.onnx": (418, ""),
    "/owner/down/resolve/main/file.onnx": (503, ""),
    "/owner/other/resolve/main/file.onnx": (200, ""),  # a server that is no hub
}


class Hub(http.server.BaseHTTPRequestHandler):
    """One repository with a few files, and others that refuse."""

    def do_HEAD(self):
        self.server.seen.append(f"{self.command} {self.path}")
        status, code = (200, "") if self.path in FOUND else REFUSED[self.path]
        self.send_response(status)
        if self.path in FOUND:
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("ETag", '"abcdef"')
        if code:
            self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", str(len(CONTENT)) if self.path in FOUND else "0")
        self.end_headers()

    def do_GET(self):
        self.do_HEAD()
        self.wfile.write(CONTENT[: self.server.sent])

    def log_message(self, *args):
        pass


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A server in a thread, and a cache of its own; no login of the user's is read."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.seen, server.sent = [], len(CONTENT)
    url = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(constants, "ENDPOINT", url)
    template = url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    # With telemetry, the package asks for a list of AI agents and keeps it in the user's folder.
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", True)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(time, "sleep", lambda seconds: None)  # between the hub's attempts
    huggingface_hub.close_session()  # one that was made with a proxy, say
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()

    def stop():
        huggingface_hub.close_session()
        server.shutdown()
        server.server_close()
        thread.join()

    server.stop = stop
    yield server
    if thread.is_alive():
        stop()


@pytest.mark.parametrize("path", ["file.onnx", "deep/er/a file.onnx"])
def test_a_file_is_fetched_once(path, hub, tmp_path, capsys):
    first = fetched(f"hf://owner/name/{path}")
    assert first.read_bytes() == CONTENT
    assert first.is_relative_to(tmp_path / "cache")
    assert first.as_posix().endswith(path)
    assert fetched(f"hf://owner/name/{path}") == first
    assert [line.split()[0] for line in hub.seen] == ["HEAD", "GET", "HEAD"]
    assert capsys.readouterr() == ("", "")  # no bar where no terminal is


@pytest.mark.parametrize("revision", ["", "@v1.0", f"@{COMMIT}"])
def test_what_was_fetched_is_found_without_the_server(revision, hub):
    for known in ("", "@v1.0"):
        fetched(f"hf://owner/name{known}/file.onnx")
    hub.stop()
    assert fetched(f"hf://owner/name{revision}/file.onnx").read_bytes() == CONTENT


def test_what_was_fetched_is_found_where_the_connection_breaks(hub, monkeypatch):
    first = fetched("hf://owner/name/file.onnx")

    def broken(handler):
        handler.close_connection = True

    monkeypatch.setattr(Hub, "do_HEAD", broken)
    assert fetched("hf://owner/name/file.onnx") == first


def test_what_was_fetched_is_found_where_the_user_wants_no_connection(hub, monkeypatch):
    first = fetched("hf://owner/name/file.onnx")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    huggingface_hub.close_session()
    assert fetched("hf://owner/name/file.onnx") == first
    with pytest.raises(InputError, match=r"\(no connection, and it is not in the cache\)"):
        fetched("hf://owner/name@v1.0/file.onnx")
    assert len(hub.seen) == 2


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("owner/name/none.onnx", "no such file in the repository"),
        ("owner/name@none/file.onnx", "no such revision"),
        ("owner/none/file.onnx", "no such repository, or a private one"),
        ("owner/gated/file.onnx", "no access"),
        ("owner/broken/file.onnx", "the server answers with status 418"),
        ("owner/down/file.onnx", "the server answers with status 503"),
        ("owner/other/file.onnx", "Response from http.*"),
    ],
)
def test_a_refusal_is_one_line(path, reason, hub):
    with pytest.raises(InputError, match=rf"^cannot fetch hf://{path} \({reason}\); expected .+$"):
        fetched(f"hf://{path}")


def test_a_missing_file_is_refused_though_another_revision_has_it(hub):
    fetched("hf://owner/name/file.onnx")
    with pytest.raises(InputError, match="no such revision"):
        fetched("hf://owner/name@none/file.onnx")


def test_without_a_connection_the_line_says_so(hub):
    hub.stop()
    with pytest.raises(InputError, match=r"\(no connection, and it is not in the cache\)"):
        fetched("hf://owner/name/file.onnx")


def test_half_a_file_is_none(hub, tmp_path):
    hub.sent = 100
    with pytest.raises(
        InputError, match=r"^cannot fetch hf://owner/name/file.onnx \(.+\); expected"
    ):
        fetched("hf://owner/name/file.onnx")
    assert not list((tmp_path / "cache").rglob("*.onnx"))


@pytest.mark.parametrize(
    "path",
    [
        "hf://",
        "hf://owner",
        "hf://owner/name",
        "hf://owner/name/",
        "hf://owner/name@/file.onnx",
        "hf://owner/name@../file.onnx",
        "hf://owner/name//file.onnx",
        "hf://owner/name/../file.onnx",
        "hf://owner/name/folder\\file.onnx",
        "hf://owner/na--me/file.onnx",
        "hf://-owner/name/file.onnx",
        "https://huggingface.co/owner/name/file.onnx",
        "HF://owner/name/file.onnx",
    ],
)
def test_a_malformed_address_is_refused(path, hub):
    with pytest.raises(InputError, match=r"not an address of a file on the hub; expected hf://own"):
        fetched(path)
    assert not hub.seen


def test_without_the_package_the_line_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(InputError, match="pip install huggingface_hub"):
        fetched("hf://owner/name/file.onnx")
