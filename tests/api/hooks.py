"""What a description cannot say: directories and files exist, a key belongs to one call, and nobody waits long."""

import os
import uuid

import schemathesis

WORK = os.environ["CC_EXECUTOR_TEST_WORK"]
ROLE = os.environ["CC_EXECUTOR_TEST_ROLE"]
ROLES = ["viewer", "operator", "admin"]


def is_path(text):
    return isinstance(text, str) and "\0" not in text


@schemathesis.hook
def before_call(context, case, kwargs):
    body = case.body
    if isinstance(body, dict) and isinstance(body.get("cwd"), str) and body["cwd"].startswith("/"):
        body["cwd"] = WORK
    if isinstance(body, dict) and isinstance(body.get("mcp_config"), list):
        body["mcp_config"] = ["{}" if is_path(config) else config for config in body["mcp_config"]]
    if isinstance(body, dict) and isinstance(body.get("add_dirs"), list):
        body["add_dirs"] = [WORK if is_path(added) and added else added for added in body["add_dirs"]]
    headers = case.headers or {}
    key = headers.get("Idempotency-Key")
    if isinstance(key, str) and 0 < len(key) < 200 and all("!" <= c <= "~" for c in key):
        headers["Idempotency-Key"] = f"{key}-{uuid.uuid4()}"
    query = case.query
    if case.path.endswith("/wait") and isinstance(query, dict) and str(query.get("seconds", "")).isdigit():
        query["seconds"] = "0"


@schemathesis.check
def what_a_role_may(ctx, response, case):
    """Whose role is less than what an operation needs is refused, whatever he sends."""
    needed = case.operation.definition.raw.get("x-required-role", "viewer")
    is_declared = case.method.upper() == case.operation.method.upper()
    if is_declared and ROLES.index(ROLE) < ROLES.index(needed):
        # A call whose token was bent is nobody's.
        assert response.status_code in (401, 403), f"{case.method} {case.path}: {response.status_code}, not 403"
