"""What a description cannot say: sessions run in a directory that exists, and nobody waits for long."""

import os

import schemathesis

WORK = os.environ["CC_EXECUTOR_TEST_WORK"]


@schemathesis.hook
def before_call(context, case, kwargs):
    body = case.body
    if isinstance(body, dict) and isinstance(body.get("cwd"), str) and body["cwd"].startswith("/"):
        body["cwd"] = WORK
    query = case.query
    if case.path.endswith("/wait") and isinstance(query, dict) and str(query.get("seconds", "")).isdigit():
        query["seconds"] = "0"
