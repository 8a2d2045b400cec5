"""What a description cannot say: sessions run in a directory that exists, a key belongs to one call, and nobody waits long."""

import os
import uuid

import schemathesis

WORK = os.environ["CC_EXECUTOR_TEST_WORK"]


@schemathesis.hook
def before_call(context, case, kwargs):
    body = case.body
    if isinstance(body, dict) and isinstance(body.get("cwd"), str) and body["cwd"].startswith("/"):
        body["cwd"] = WORK
    headers = case.headers or {}
    key = headers.get("Idempotency-Key")
    if isinstance(key, str) and 0 < len(key) < 200 and all("!" <= c <= "~" for c in key):
        headers["Idempotency-Key"] = f"{key}-{uuid.uuid4()}"
    query = case.query
    if case.path.endswith("/wait") and isinstance(query, dict) and str(query.get("seconds", "")).isdigit():
        query["seconds"] = "0"
