"""The server: what it gives, what it never gives, and how it answers before anyone is there."""

import http.client
import json
import socket
from pathlib import Path

import pytest

from tfseg.demo.page import Answer, folder
from tfseg.demo.server import Server
from tfseg.errors import InputError

SECRET = b"nobody's business"


@pytest.fixture
def server(tmp_path):
    (tmp_path / "page").mkdir()
    (tmp_path / "page" / "index.html").write_bytes(b"<p>hello</p>")
    (tmp_path / "secret").write_bytes(SECRET)
    with Server("127.0.0.1", 0) as server:
        server.answers = {
            "/": Answer(path=tmp_path / "page" / "index.html"),
            "/gone.js": Answer(path=tmp_path / "page" / "gone.js"),
            "/demo.json": Answer(path=None, content=b"{}"),
        }
        server.start()
        yield server
        server.shutdown()


def ask(server, path, *, method="GET", **headers):
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=10)
    connection.putrequest(method, path, skip_host="Host" in headers)
    for name, value in headers.items():
        connection.putheader(name.replace("_", "-"), value)
    connection.endheaders()
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer, body


@pytest.mark.parametrize(
    "path",
    [
        "/secret",
        "/../secret",
        "/page/../secret",
        "/..%2fsecret",
        "/%2e%2e/secret",
        "//secret",
        "/./../../etc/passwd",
        "/\\..\\secret",
        "/index.html/../../secret",
        "http://localhost/secret",
        "/%00",
        "/page",
        "/models/",
    ],
)
def test_no_path_leads_out(server, path):
    answer, body = ask(server, path)
    assert answer.status == 404
    assert SECRET not in body


def test_the_page_is_isolated(server):
    answer, body = ask(server, "/?a=b")
    assert (answer.status, body) == (200, b"<p>hello</p>")
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert answer.headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert answer.headers["Cross-Origin-Embedder-Policy"] == "require-corp"
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    assert "unsafe-inline" not in answer.headers["Content-Security-Policy"]
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_what_did_not_change_is_not_sent_again(server, tmp_path):
    first, _ = ask(server, "/")
    again, body = ask(server, "/", If_None_Match=first.headers["ETag"])
    assert (again.status, body) == (304, b"")
    (tmp_path / "page" / "index.html").write_bytes(b"<p>new</p>")
    changed, body = ask(server, "/", If_None_Match=first.headers["ETag"])
    assert (changed.status, body) == (200, b"<p>new</p>")


@pytest.mark.parametrize(
    ("host", "status"), [("localhost:1", 200), ("127.0.0.1", 200), ("[::1]:9", 200), ("x.org", 403)]
)
def test_another_name_for_this_computer_is_refused(server, host, status):
    assert ask(server, "/", Host=host)[0].status == status


def test_other_methods_change_nothing(server):
    assert ask(server, "/", method="HEAD")[1] == b""
    assert ask(server, "/", method="POST")[0].status == 501
    assert ask(server, "/", method="DELETE")[0].status == 501


def test_a_file_that_has_gone_is_told(server):
    answer, body = ask(server, "/gone.js")
    assert (answer.status, body) == (500, b"The file cannot be read (No such file or directory).\n")


def test_a_taken_port_and_a_wrong_address_are_told(server):
    with pytest.raises(
        InputError, match=f"port {server.server_port}: taken, perhaps by another tfseg demo; choose one"
    ):
        Server("127.0.0.1", server.server_port)
    with pytest.raises(InputError, match=r"--host 192\.0\.2\.1: cannot listen there"):  # an address for documentation
        Server("192.0.2.1", 0)
    with pytest.raises(InputError, match="--port 70000"):
        Server("127.0.0.1", 70000)


def test_a_client_that_says_nothing_disturbs_nobody(server):
    with socket.create_connection(("127.0.0.1", server.server_port)):
        assert ask(server, "/")[0].status == 200


def test_the_command_refuses_in_one_line(tfseg, tmp_path):
    (tmp_path / "not.tflite").write_bytes(b"no model")
    (tmp_path / "run").mkdir()
    for words, said in (
        ((tmp_path / "not.tflite",), "not.tflite: not a .tflite file"),
        ((tmp_path / "none.tflite",), "none.tflite: no such file"),
        ((tmp_path / "run",), "run: "),
    ):
        refused = tfseg("demo", *words, status=2)
        assert said in refused.stderr
        assert refused.stderr.count("\n") == 1
        assert refused.stdout == ""


@pytest.mark.slow
def test_a_second_start_says_that_the_port_is_taken(tfseg, demo, networks):
    port = demo(networks["int8"]).rstrip("/").rpartition(":")[2]
    refused = tfseg("demo", networks["int8"], "--port", port, status=2)
    assert f"port {port}: taken" in refused.stderr


def test_the_lock_file_names_no_registry():
    """Whoever installs it has a registry of his own; what is fetched is known by its digest."""
    lock = json.loads((folder() / "package-lock.json").read_text())
    packages = {name: about for name, about in lock["packages"].items() if name}
    assert len(packages) > 2
    for name, about in packages.items():
        assert "resolved" not in about, name
        assert about["integrity"].startswith("sha512-"), name
    wanted = json.loads((folder() / "package.json").read_text())
    for name, version in (wanted["dependencies"] | wanted["devDependencies"]).items():
        assert packages[f"node_modules/{name}"]["version"] == version  # exact, and the one that is locked


def test_all_the_page_asks_for_is_served():
    """Every import and every address in the page's own files is a file beside it."""
    page = folder() / "page"
    names = {path.name for path in page.iterdir()}
    text = "".join(path.read_text() for path in page.iterdir() if path.suffix in (".js", ".html"))
    for name in ("main.js", "worker.js", "style.css", "icon.svg", "offline.js", "segmenter.js", "resize.js"):
        assert name in text
        assert name in names
    assert not [path for path in page.iterdir() if path.is_dir()]
    assert Path(page, "index.html").read_text().count("http") == text.count("http://www.w3.org") == 0
