// Runs a notebook as a task, and holds every answer against the official schemas of the extension.
// node tasks.mjs URL
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const place = `${process.cwd()}/node_modules/@modelcontextprotocol/ext-tasks/dist/core/v2/index.js`;
const tasks = await import(pathToFileURL(createRequire(import.meta.url).resolve(place)).href);
const [url] = process.argv.slice(2);
const VERSION = "2026-07-28";

async function ask(method, target, params) {
  const framed = tasks.withTaskCapabilityV2({
    ...params,
    _meta: {
      "io.modelcontextprotocol/protocolVersion": VERSION,
      "io.modelcontextprotocol/clientInfo": { name: "peers", version: "1" },
    },
  });
  const answered = await fetch(url, {
    method: "POST",
    headers: {
      "content-type": "application/json",
      accept: "application/json, text/event-stream",
      "mcp-protocol-version": VERSION,
      "mcp-method": method,
      "mcp-name": target,
    },
    body: JSON.stringify({ jsonrpc: "2.0", id: 1, method, params: framed }),
  });
  const text = await answered.text();
  const lines = text.split("\n").filter((line) => line.startsWith("data: "));
  return JSON.parse(lines.length ? lines.at(-1).slice(6) : text).result;
}

const cells = ["import time; time.sleep(4)", "6 * 7"];
const begun = await ask("tools/call", "run_notebook", { name: "run_notebook", arguments: { notebook: cells } });
const are = [tasks.isToolCallTaskResultV2("tools/call", begun)];
let task = begun;
while (task.status === "working") {
  await new Promise((go) => setTimeout(go, 500));
  task = await ask("tasks/get", begun.taskId, { taskId: begun.taskId });
  are.push(tasks.GetTaskResultV2Schema.safeParse(task).success);
}
console.log(JSON.stringify({ are, begun, task }));
