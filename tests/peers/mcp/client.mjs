// Drives the server with the official TypeScript SDK; prints what came back as JSON.
// node client.mjs http URL | node client.mjs stdio COMMAND [ARGUMENT ...]
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const require = createRequire(`${process.cwd()}/package.json`);
const load = (path) => import(pathToFileURL(require.resolve(`@modelcontextprotocol/sdk/${path}`)).href);
const { Client } = await load("client/index.js");
const { StdioClientTransport } = await load("client/stdio.js");
const { StreamableHTTPClientTransport } = await load("client/streamableHttp.js");
const { ResourceUpdatedNotificationSchema } = await load("types.js");

const [way, target, ...rest] = process.argv.slice(2);
const transport =
  way === "http"
    ? new StreamableHTTPClientTransport(new URL(target))
    : new StdioClientTransport({ command: target, args: rest, env: process.env, stderr: "inherit" });
const client = new Client({ name: "peers", version: "1" });
await client.connect(transport);

const updated = [];
client.setNotificationHandler(ResourceUpdatedNotificationSchema, ({ params }) => updated.push(params.uri));
const said = (result) => result.content.map((block) => block.text ?? "").join("\n");
const call = (name, args, options) => client.callTool({ name, arguments: args }, undefined, options);

const progress = [];
const slow = ["import time", "time.sleep(1.5)", "time.sleep(1.5)", "6 * 7"];
const run = await call("run_notebook", { notebook: slow }, {
  timeout: 60_000,
  onprogress: ({ progress: value }) => progress.push(value),
});
const begun = said(await call("run_notebook", { notebook: ["import time; time.sleep(3)"], wait_seconds: 0 }));
const uri = `runner://jobs/${begun.match(/[0-9a-f]{32}/)[0]}`;
const canWatch = client.getServerCapabilities().resources.subscribe;
if (canWatch) await client.subscribeResource({ uri });
const job = said(await call("get_job", { job_id: uri.slice(-32), wait_seconds: 50 }, { timeout: 60_000 }));
const deadline = Date.now() + 20_000;
while (canWatch && !updated.length && Date.now() < deadline) await new Promise((go) => setTimeout(go, 50));
const report = {
  capabilities: client.getServerCapabilities(),
  tools: (await client.listTools()).tools.map((tool) => tool.name),
  resources: (await client.listResources()).resources.map((one) => one.uri),
  templates: (await client.listResourceTemplates()).resourceTemplates.map((one) => one.uriTemplate),
  read: (await client.readResource({ uri: "runner://notebooks" })).contents[0].text,
  run: said(run),
  wrong: said(await call("run_notebook", { notebook: 5 })),
  failed: (await call("run_notebook", { notebook: ["1 / 0"] }, { timeout: 60_000 })).isError,
  uri,
  job,
  progress,
  updated,
};
await client.close();
console.log(JSON.stringify(report));
