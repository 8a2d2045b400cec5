"""A whole session with FastMCP: progress is shown, a question is answered, the result and a resource are read.

Called as `fastmcp_client.py MODE HOW DIRECTORY WHERE`: MODE is the client's own word for an era; HOW is `http` with WHERE
an address and the token in CC_EXECUTOR_TOKEN, or `stdio` with WHERE the program whose `mcp` is the relay.
"""

import asyncio
import os
import pathlib
import sys

from fastmcp import Client
from fastmcp.client.elicitation import ElicitResult
from fastmcp.client.transports import StdioTransport, StreamableHttpTransport

TASK = "say first words ;; wait-file {} ;; question Which colour? | Red | Blue ;; say done"


def server(how, where):
    if how == "stdio":
        return StdioTransport(command=where, args=["mcp"], env=dict(os.environ), keep_alive=False)
    return StreamableHttpTransport(where, headers={"Authorization": "Bearer " + os.environ["CC_EXECUTOR_TOKEN"]})


async def main(mode, how, directory, where):
    told, asked = [], []
    # The agent goes on when its first words were shown: that they come while it runs is what is tested.
    go = pathlib.Path(directory, f"go-{os.getpid()}")

    async def progress(step, total, message):
        told.append((step, message))
        if "first words" in "".join(message for _, message in told):
            go.touch()

    async def answer(message, response_type, params, context):
        asked.append(message)
        return ElicitResult(action="accept", content={"q1": "Blue"})

    async with Client(server(how, where), mode=mode, elicitation_handler=answer) as client:
        names = [tool.name for tool in await client.list_tools()]
        assert "execute_with_streaming" in names, names
        arguments = {"task": TASK.format(go), "cwd": directory}
        result = await client.call_tool("execute_with_streaming", arguments, progress_handler=progress)
        structured = result.structured_content
        assert structured["outcome"] == "completed" and structured["result"] == "done", structured
        assert [message.split("\n", 1)[1] for message in asked] == ["Claude asks:\nWhich colour?"], asked
        assert structured["session_id"] in told[0][1], told
        # A question that is asked by 2026-07-28 divides the call into two requests, each with progress of its own.
        for (earlier, _), (step, message) in zip(told, told[1:]):
            assert step > earlier or message.startswith("session_id "), told
        listed = await client.call_tool("list_executions", {})
        assert structured["session_id"] in str(listed.structured_content), listed
        [read] = await client.read_resource("resource://cc-executor/session/" + structured["session_id"])
        assert '"completed"' in read.text, read
        wrong = await client.call_tool("get_execution", {"session_id": "ffffffff"}, raise_on_error=False)
        assert wrong.is_error, wrong


asyncio.run(main(*sys.argv[1:]))
