// An MCP client, the official one for JavaScript. It connects as its argument says, does what each line on standard input says,
// and answers each with a line on standard output.
import { createRequire } from "node:module";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

const require = createRequire(process.env.PEERS + "/");
const load = (name) => import(pathToFileURL(require.resolve("@modelcontextprotocol/sdk/" + name)));
const { Client } = await load("client/index.js");
const { StdioClientTransport } = await load("client/stdio.js");
const { StreamableHTTPClientTransport } = await load("client/streamableHttp.js");
const { ElicitRequestSchema, McpError, ToolListChangedNotificationSchema } = await load("types.js");

const config = JSON.parse(process.argv[2]);
// What came without being asked for, in order, and who waits for it.
const notices = [];
let waiting = null;
const notice = (what) => {
    notices.push(what);
    waiting?.();
};

const capabilities = config.elicits ? { elicitation: { url: {} } } : {};
const client = new Client({ name: "story", version: "1" }, { capabilities });
client.setNotificationHandler(ToolListChangedNotificationSchema, () => notice({ changed: true }));
if (config.elicits) {
    client.setRequestHandler(ElicitRequestSchema, ({ params }) => {
        notice({ asked: params });
        return { action: "accept" };
    });
}

const transport = config.stdio
    ? new StdioClientTransport({ stderr: "inherit", ...config.stdio })
    : new StreamableHTTPClientTransport(new URL(config.http.url), {
          requestInit: { headers: { Authorization: "Bearer " + config.http.key } },
      });

const call = async ({ tool, arguments: input = {}, meta: _meta }, signal) => {
    const onprogress = ({ progress, message }) => notice({ progress, message });
    try {
        return await client.callTool({ name: tool, arguments: input, _meta }, undefined, { signal, onprogress });
    } catch (error) {
        if (!(error instanceof McpError)) return { failed: String(error) };
        return { "protocol-error": { code: error.code, message: error.message } };
    }
};

await client.connect(transport);
const say = (what) => console.log(JSON.stringify(what));
say({ protocol: transport.protocolVersion ?? null, instructions: client.getInstructions() });
let begun = null;
for await (const line of createInterface({ input: process.stdin })) {
    const asked = JSON.parse(line);
    switch (asked.do) {
        case "list":
            say((await client.listTools()).tools);
            break;
        case "call":
            say(await call(asked));
            break;
        case "begin": {
            const controller = new AbortController();
            begun = { controller, ended: call(asked, controller.signal) };
            say(null);
            break;
        }
        case "cancel":
            begun.controller.abort("no longer wanted");
            await begun.ended;
            say(null);
            break;
        case "end":
            say(await begun.ended);
            break;
        case "notice":
            while (notices.length === 0) await new Promise((done) => (waiting = done));
            say(notices.shift());
            break;
    }
}
await client.close();
