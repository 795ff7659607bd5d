"""Holds objects against the schemas of Kubernetes. In: a question as JSON on standard input. Out: a list of what is wrong for each object."""

import functools
import json
import sys

from kubernetes_validate import utils

# It would read the same files for every object.
utils.schema_contents = functools.cache(utils.schema_contents)

question = json.load(sys.stdin)
answers = []
for value in question["objects"]:
    wrong = []
    for version in question["versions"]:
        try:
            utils.validate(value, version, strict=True)
        except utils.ValidationError as error:
            wrong.append("%s: %s: %s" % (version, ".".join(str(part) for part in error.path), error.message))
        except utils.SchemaNotFoundError as error:
            wrong.append(error.message)
    answers.append(wrong)
json.dump(answers, sys.stdout)
