"""A run is uploaded by the Hub's own client, to a server on this machine that keeps what it gets.

The paths and fields are those that the client of ``huggingface_hub`` 0.23 and of today sends:
https://huggingface.co/docs/hub/api and ``HfApi.create_repo``, ``HfApi.upload_folder``.
"""

import base64
import functools
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest

from recbole_hm4sr.base.errors import DataError
from recbole_hm4sr.serve import hub
from recbole_hm4sr.serve.recommend import Recommender

pytest.importorskip("safetensors.torch", reason="needs the extra hub")
huggingface_hub = pytest.importorskip("huggingface_hub", reason="needs the extra hub")

pytestmark = pytest.mark.integration


class _Hub(BaseHTTPRequestHandler):
    """The four answers that an upload needs; the server has ``asked`` and ``kept``."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        token = self.headers["Authorization"]
        if self.path == "/api/repos/create":
            asked = json.loads(body)
            self.server.asked.append((token, asked))
            owner = asked.get("organization") or "me"
            if owner == "closed":
                return self._answer({"error": "You don't have the rights"}, 403)
            return self._answer({"url": f"{self.server.endpoint}/{owner}/{asked['name']}"})
        if self.path == "/api/validate-yaml":
            return self._answer({"errors": [], "warnings": []})
        name = self.path.removeprefix("/api/models/").removesuffix("/main")
        if name.endswith("/preupload"):
            files = [{"path": one["path"], "uploadMode": "regular", "shouldIgnore": False}
                     for one in json.loads(body)["files"]]  # fmt: skip
            return self._answer({"files": files})
        assert name.endswith("/commit"), self.path
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            if line["key"] == "header":
                self.server.asked.append((name, value["summary"]))
            else:
                self.server.kept[value["path"]] = base64.b64decode(value["content"])
        url = f"{self.server.endpoint}/me/toy/commit/1"
        return self._answer({"commitUrl": url, "commitOid": "1", "success": True})

    def _answer(self, content, status=200):
        text = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    with ThreadingHTTPServer(("127.0.0.1", 0), _Hub) as server:
        server.endpoint = f"http://127.0.0.1:{server.server_port}"
        server.asked, server.kept = [], {}
        threading.Thread(target=server.serve_forever, daemon=True).start()
        api = functools.partial(huggingface_hub.HfApi, endpoint=server.endpoint)
        # Release 0.23 has a card checked there, whatever endpoint it was given.
        monkeypatch.setattr(huggingface_hub.hf_api, "ENDPOINT", server.endpoint, raising=False)
        monkeypatch.setattr(hub, "_hub", lambda: SimpleNamespace(HfApi=api))
        yield server
        server.shutdown()


def test_what_was_uploaded_is_the_folder_and_answers_as_the_run(server, hm4sr_run, tmp_path):
    run = Recommender.load(hm4sr_run)
    folder = run.save_pretrained(
        tmp_path / "toy", license="mit", push_to_hub=True, token="hf_secret"
    )
    (token, made), commit = server.asked
    assert token == "Bearer hf_secret"
    assert made["name"] == "toy"
    assert "private" not in {name for name, value in made.items() if value is not False}
    assert commit == ("me/toy/commit", "HM4SR trained on toy")  # the user's name was the Hub's
    paths = [path for path in folder.rglob("*") if path.is_file()]
    assert server.kept == {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}
    for name, content in server.kept.items():
        path = tmp_path / "had" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    history = [(run.items.tokens[1:3].tolist(), [1, 2])]
    again = Recommender.from_pretrained(tmp_path / "had")
    assert again.recommend(history, 5).scores.tolist() == run.recommend(history, 5).scores.tolist()


def test_a_private_one_of_an_organisation_and_a_refusal(server, hm4sr_run):
    run = Recommender.load(hm4sr_run)
    address = run.push_to_hub("shop/toy", private=True, token="hf_secret")
    assert address == f"{server.endpoint}/me/toy/commit/1"
    made = server.asked[0][1]
    assert (made["organization"], made["name"]) == ("shop", "toy")
    assert made.get("private") is True or made.get("visibility") == "private"
    with pytest.raises(DataError, match="could not be published as 'closed/toy': "):
        run.push_to_hub("closed/toy", token="hf_secret")
