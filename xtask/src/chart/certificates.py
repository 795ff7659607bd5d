"""Installs and upgrades a chart against an API server that only knows its Secrets. In: a question as JSON on standard input. Out: the Secrets after each, by name."""

import http.server
import json
import sys
import tempfile
import threading

import yaml
from helm_python import Chart, Config

question = json.load(sys.stdin)
secrets = {}


class Api(http.server.BaseHTTPRequestHandler):
    """What `lookup` asks for: the kinds there are, and Secrets."""

    def log_message(self, *_):
        pass

    def do_GET(self):
        path = self.path.split("?")[0]
        kinds = [{"name": "secrets", "singularName": "secret", "namespaced": True, "kind": "Secret", "verbs": ["get"]}]
        answer = {
            "/version": {"major": "1", "minor": "34", "gitVersion": "v1.34.0"},
            "/api": {"kind": "APIVersions", "versions": ["v1"]},
            "/apis": {"kind": "APIGroupList", "apiVersion": "v1", "groups": []},
            "/api/v1": {"kind": "APIResourceList", "groupVersion": "v1", "resources": kinds},
        }.get(path) or secrets.get(path.rsplit("/", 1)[-1])
        code = 200 if answer else 404
        answer = answer or {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404}
        body = json.dumps(answer).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Api)
threading.Thread(target=server.serve_forever, daemon=True).start()
kubeconfig = {
    "apiVersion": "v1",
    "kind": "Config",
    "clusters": [{"name": "c", "cluster": {"server": "http://127.0.0.1:%d" % server.server_port}}],
    "users": [{"name": "u", "user": {"token": "t"}}],
    "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
    "current-context": "c",
}
answers = []
with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file, Chart.load(question["chart"]) as chart:
    json.dump(kubeconfig, file)
    file.flush()
    with Config(kubeconfig_path=file.name, namespace=question["release"]) as config:
        for is_upgrade in [False, True]:
            rendered = config.render(
                chart,
                question["values"],
                name=question["release"],
                namespace=question["release"],
                is_install=not is_upgrade,
                is_upgrade=is_upgrade,
            )
            documents = [doc for text in rendered.values() for doc in yaml.safe_load_all(text) if isinstance(doc, dict)]
            secrets = {doc["metadata"]["name"]: doc for doc in documents if doc.get("kind") == "Secret"}
            answers.append({name: secret["data"] for name, secret in secrets.items()})
json.dump(answers, sys.stdout)
