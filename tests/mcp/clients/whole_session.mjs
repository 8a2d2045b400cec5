// A whole session with either generation of the npm SDK: progress is shown, a question is answered, the result and a
// resource are read.
//
// Called as `whole_session.mjs MODE HOW DIRECTORY WHERE`: MODE is `v1` for `@modelcontextprotocol/sdk`, or an era for
// `@modelcontextprotocol/client`; HOW is `http` with WHERE an address and the token in CC_EXECUTOR_TOKEN, or `stdio`
// with WHERE the program whose `mcp` is the relay. The packages are in the folder that CC_EXECUTOR_TEST_MODULES names.

import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';

const [mode, how, directory, where] = process.argv.slice(2);
// The agent goes on when its first words were shown: that they come while it runs is what is tested.
const go = `${directory}/go-${process.pid}`;
const TASK = `say first words ;; wait-file ${go} ;; question Which colour? | Red | Blue ;; say done`;
const require = createRequire(`${process.env.CC_EXECUTOR_TEST_MODULES}/`);
const INFO = { name: 'whole-session', version: '1' };
const CAPABILITIES = { capabilities: { elicitation: { form: {} } } };

// What differs between the generations.
function first(answer) {
  const { Client } = require('@modelcontextprotocol/sdk/client/index.js');
  const { ElicitRequestSchema } = require('@modelcontextprotocol/sdk/types.js');
  const { StreamableHTTPClientTransport } = require('@modelcontextprotocol/sdk/client/streamableHttp.js');
  const { StdioClientTransport } = require('@modelcontextprotocol/sdk/client/stdio.js');
  const client = new Client(INFO, CAPABILITIES);
  client.setRequestHandler(ElicitRequestSchema, answer);
  const call = (params, options) => client.callTool(params, undefined, options);
  return { client, call, StreamableHTTPClientTransport, StdioClientTransport };
}

function second(answer) {
  const { Client, StreamableHTTPClientTransport } = require('@modelcontextprotocol/client');
  const { StdioClientTransport } = require('@modelcontextprotocol/client/stdio');
  const era = mode === 'v2' ? {} : { versionNegotiation: { mode: mode === 'auto' ? 'auto' : { pin: mode } } };
  const client = new Client(INFO, { ...CAPABILITIES, ...era });
  client.setRequestHandler('elicitation/create', answer);
  const call = (params, options) => client.callTool(params, options);
  return { client, call, StreamableHTTPClientTransport, StdioClientTransport };
}

const asked = [];
const answer = async (request) => {
  asked.push(request.params.message);
  return { action: 'accept', content: { q1: 'Blue' } };
};
const sdk = mode === 'v1' ? first(answer) : second(answer);
const headers = { Authorization: `Bearer ${process.env.CC_EXECUTOR_TOKEN}` };
const transport =
  how === 'stdio'
    ? new sdk.StdioClientTransport({ command: where, args: ['mcp'], env: { ...process.env } })
    : new sdk.StreamableHTTPClientTransport(new URL(where), { requestInit: { headers } });
await sdk.client.connect(transport);

const names = (await sdk.client.listTools()).tools.map((tool) => tool.name);
assert(names.includes('execute_with_streaming'), `${names}`);
const told = [];
const onprogress = (progress) => {
  told.push(progress);
  if (told.map(({ message }) => message).join('').includes('first words')) writeFileSync(go, '');
};
const task = { name: 'execute_with_streaming', arguments: { task: TASK, cwd: directory } };
const result = await sdk.call(task, { onprogress });
const done = result.structuredContent;
assert.equal(done.outcome, 'completed', JSON.stringify(result));
assert.equal(done.result, 'done');
assert.match(asked.join(), /^Session [0-9a-f]{8} ".*" in \S+\nClaude asks:\nWhich colour\?$/s);
assert(told[0].message.includes(done.session_id), JSON.stringify(told));
// A question that is asked by 2026-07-28 divides the call into two requests, each with progress of its own; what the SDK
// itself tells between them begins anew as well.
const begins = ({ message }) => message.startsWith('session_id ') || message.startsWith('Fulfilling');
assert(told.every((step, n) => n === 0 || begins(step) || step.progress > told[n - 1].progress), JSON.stringify(told));
const listed = await sdk.call({ name: 'list_executions', arguments: {} });
assert(JSON.stringify(listed.structuredContent).includes(done.session_id));
const read = await sdk.client.readResource({ uri: `resource://cc-executor/session/${done.session_id}` });
assert(read.contents[0].text.includes('"completed"'), JSON.stringify(read));
const wrong = await sdk.call({ name: 'get_execution', arguments: { session_id: 'ffffffff' } });
assert.equal(wrong.isError, true, JSON.stringify(wrong));
await sdk.client.close();
