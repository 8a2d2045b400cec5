"""Holds records, one a line of the input, against the schema that the description (its path is the argument) has."""

import json
import sys

import jsonschema_rs

with open(sys.argv[1]) as file:
    description = json.load(file)
schema = {"$ref": "#/components/schemas/Record", "components": description["components"]}
validator = jsonschema_rs.Draft202012Validator(schema, validate_formats=True)

for line in sys.stdin:
    record = json.loads(line)
    for error in validator.iter_errors(record):
        print(f"{record['kind']} {json.dumps(record['data'])[:400]}: {error}")
    # A description that lets everything through would be none.
    for wrong in ({**record, "data": {}}, {**record, "kind": "no.such"}, {**record, "data": None}):
        if validator.is_valid(wrong):
            print(f"{record['kind']}: {json.dumps(wrong)[:200]} is let through")
