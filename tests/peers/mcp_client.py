"""An MCP client, the official one for Python. It connects as its argument says, does what each line on standard input says, and
answers each with a line on standard output."""

import asyncio
import json
import sys

import httpx2
import mcp
import mcp_types as types
from mcp.client.stdio import StdioServerParameters
from mcp.client.streamable_http import streamable_http_client

config = json.loads(sys.argv[1])
# What came without being asked for, in order.
notices = []
noticed = asyncio.Condition()


async def notice(what):
    async with noticed:
        notices.append(what)
        noticed.notify_all()


async def handle(message):
    if isinstance(message, types.ToolListChangedNotification):
        await notice({"changed": True})


async def elicit(context, params):
    await notice({"asked": plain(params)})
    return types.ElicitResult(action="accept")


async def progress(done, total, message):
    await notice({"progress": done, "message": message})


def plain(model):
    return model.model_dump(mode="json", by_alias=True, exclude_none=True)


def server():
    if "stdio" in config:
        return StdioServerParameters(**config["stdio"])
    client = httpx2.AsyncClient(headers={"Authorization": "Bearer " + config["http"]["key"]})
    return streamable_http_client(config["http"]["url"], http_client=client)


async def call(client, asked):
    try:
        given = {"progress_callback": progress, "meta": asked.get("meta")}
        return plain(await client.call_tool(asked["tool"], asked.get("arguments", {}), **given))
    except mcp.MCPError as error:
        return {"protocol-error": {"code": error.error.code, "message": error.error.message}}


async def listen(client, begun):
    async with client.listen(tools_list_changed=True) as subscription:
        begun.set()
        async for _ in subscription:
            await notice({"changed": True})


async def main():
    loop = asyncio.get_running_loop()
    background = []
    options = {"mode": config.get("mode", "auto"), "message_handler": handle, "cache": None}
    if config.get("elicits"):
        options["elicitation_callback"] = elicit
    async with mcp.Client(server(), **options) as client:
        print(json.dumps({"protocol": client.protocol_version, "instructions": client.instructions}), flush=True)
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            asked = json.loads(line)
            match asked["do"]:
                case "list":
                    answer = plain(await client.list_tools())["tools"]
                case "call":
                    answer = await call(client, asked)
                case "begin":
                    background.append(asyncio.create_task(call(client, asked)))
                    answer = None
                case "cancel":
                    background[-1].cancel()
                    await asyncio.wait(background)
                    answer = None
                case "end":
                    answer = await background[-1]
                case "listen":
                    begun = asyncio.Event()
                    background.append(asyncio.create_task(listen(client, begun)))
                    await begun.wait()
                    answer = None
                case "notice":
                    async with noticed:
                        await noticed.wait_for(lambda: notices)
                        answer = notices.pop(0)
            print(json.dumps(answer), flush=True)
        for task in background:
            task.cancel()


asyncio.run(main())
