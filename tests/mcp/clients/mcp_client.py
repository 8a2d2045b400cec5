"""A whole session with the official Python client: progress is shown, a question is answered, the result is read.

Called as `client.py MODE HOW DIRECTORY WHERE`: MODE is the client's own word for an era; HOW is `http` with WHERE an
address and the token in CC_EXECUTOR_TOKEN, or `stdio` with WHERE the program whose `mcp` is the relay.
"""

import asyncio
import os
import pathlib
import sys

import httpx2
from mcp import Client, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client
from mcp.types import ElicitResult

TASK = "say first words ;; wait-file {} ;; question Which colour? | Red | Blue ;; say done"


def server(how, where):
    if how == "stdio":
        return StdioServerParameters(command=where, args=["mcp"], env=dict(os.environ))
    headers = {"Authorization": "Bearer " + os.environ["CC_EXECUTOR_TOKEN"]}
    return streamable_http_client(where, http_client=httpx2.AsyncClient(headers=headers, timeout=None))


async def main(mode, how, directory, where):
    told, asked = [], []
    # The agent goes on when its first words were shown: that they come while it runs is what is tested.
    go = pathlib.Path(directory, f"go-{os.getpid()}")

    async def progress(step, total, message):
        told.append((step, message))
        if "first words" in "".join(message for _, message in told):
            go.touch()

    async def answer(context, params):
        asked.append(params.message)
        return ElicitResult(action="accept", content={"q1": "Blue"})

    async with Client(server(how, where), mode=mode, elicitation_callback=answer) as client:
        names = [tool.name for tool in (await client.list_tools()).tools]
        assert "execute_resumable" in names, names
        arguments = {"task": TASK.format(go), "cwd": directory}
        result = await client.call_tool("execute_resumable", arguments, progress_callback=progress)
        structured = result.structured_content
        assert structured["outcome"] == "completed" and structured["result"] == "done", structured
        assert not result.is_error
        assert [message.split("\n", 1)[1] for message in asked] == ["Claude asks:\nWhich colour?"], asked
        assert structured["session_id"] in told[0][1], told
        uri = "resource://cc-executor/session/" + structured["session_id"]
        read = await client.read_resource(uri)
        assert '"completed"' in read.contents[0].text, read
        wrong = await client.call_tool("get_execution", {"session_id": "ffffffff"})
        assert wrong.is_error, wrong


asyncio.run(main(*sys.argv[1:]))
