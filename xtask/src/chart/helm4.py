"""Renders and lints a chart with Helm 4. In: a question as JSON on standard input. Out: one answer for each values file."""

import json
import sys

import yaml
from helm_python import Chart, HelmError
from helm_python.chart import lint

question = json.load(sys.stdin)
answers = []
with Chart.load(question["chart"]) as chart:
    for path in question["values"]:
        with open(path) as file:
            values = yaml.safe_load(file) or {}
        answer = {}
        try:
            chart.validate_schema(values)
            rendered = chart.render(values, name=question["release"], namespace=question["release"])
            files = [text for path, text in sorted(rendered.items()) if not path.endswith("NOTES.txt")]
            answer["text"] = "\n---\n".join(files)
            report = lint(
                question["chart"], values, strict=True, namespace=question["release"], kube_version=question["kube_version"]
            )
            # 2 is a warning, 3 an error.
            answer["lint"] = [m["error"] for m in report["messages"] if m["severity"] >= 2] + report["errors"]
        except HelmError as error:
            answer["error"] = str(error)
        answers.append(answer)
json.dump(answers, sys.stdout)
