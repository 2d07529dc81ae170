"""A hub on this machine: enough of its protocol for the real client to make repositories, commit and fetch."""

import base64
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import huggingface_hub.constants
import pytest

COMMIT = "0123456789012345678901234567890123456789"


class Hub:
    """Repositories as ``{"owner/name": {"path": bytes}}``, and every request that came."""

    def __init__(self):
        self.repositories, self.requests, self.agents, self.created = {}, [], set(), []

    def answer(self, method, path, body):
        """(status, headers, body) of a request."""
        if (method, path) == ("POST", "/api/repos/create"):
            return self.create(json.loads(body))
        if (method, path) == ("POST", "/api/validate-yaml"):
            return 200, {}, b'{"errors": [], "warnings": []}'
        if path.startswith("/api/models/"):
            owner, name, verb, _revision = path.removeprefix("/api/models/").split("/")
            return getattr(self, verb)(f"{owner}/{name}", body)
        owner, name, resolve, _revision, file = path.removeprefix("/").split("/", 4)
        found = self.repositories.get(f"{owner}/{name}", {}).get(file) if resolve == "resolve" else None
        if found is None:
            return 404, {"X-Error-Code": "EntryNotFound"}, b"{}"
        return 200, {"ETag": f'"{hash(found):x}"', "X-Repo-Commit": COMMIT}, found

    def create(self, asked):
        name = f"{asked['organization']}/{asked['name']}"
        self.created.append(asked)
        known = name in self.repositories
        self.repositories.setdefault(name, {})
        return (409 if known else 200), {}, json.dumps({"url": f"{huggingface_hub.constants.ENDPOINT}/{name}"}).encode()

    def preupload(self, name, body):
        files = [{**one, "uploadMode": "regular", "shouldIgnore": False} for one in json.loads(body)["files"]]
        return 200, {}, json.dumps({"files": files}).encode()

    def commit(self, name, body):
        for line in map(json.loads, body.splitlines()):
            if line["key"] == "file":
                self.repositories[name][line["value"]["path"]] = base64.b64decode(line["value"]["content"])
        url = f"{huggingface_hub.constants.ENDPOINT}/{name}/commit/{COMMIT}"
        return 200, {}, json.dumps({"commitOid": COMMIT, "commitUrl": url, "success": True}).encode()


def serving(hub):
    class Requests(BaseHTTPRequestHandler):
        def log_message(self, *_):
            """Say nothing."""

        def do_any(self):
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            path = self.path.partition("?")[0]
            if path == "/api/agent-harnesses":  # a courtesy of the client, which takes no for an answer
                status, headers, answer = 404, {}, b"{}"
            else:
                hub.requests.append((self.command, path))
                hub.agents.add(self.headers.get("User-Agent"))
                status, headers, answer = hub.answer(self.command, path, body)
            self.send_response(status)
            for key, value in {**headers, "Content-Length": str(len(answer))}.items():
                self.send_header(key, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(answer)

        do_GET = do_HEAD = do_POST = do_any  # noqa: N815 (the server asks for these names)

    return ThreadingHTTPServer(("127.0.0.1", 0), Requests)


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """The stand-in; the client of the real hub talks to it and keeps its files in a folder of the test."""
    hub = Hub()
    with serving(hub) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        endpoint = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", endpoint)
        files = f"{endpoint}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", files)
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        yield hub
        server.shutdown()
