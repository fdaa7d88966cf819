// A small agent on a vendor's JavaScript SDK: it asks a model, runs the shell
// commands that the model calls the tool "run" with, sends the results back, and
// prints what happened as one JSON object. It is as gullible as a client can be:
// it runs a call as soon as the SDK says that it is whole, and again if any later
// place says it differently.
//
// usage: node driver.mjs chat|responses|messages|gemini BASE_URL KEY plain|stream|bare (a stream of chat that does not ask for its usage)
//
// SALLYPORT_CLIENTS is the node_modules directory with the SDKs.
import { createRequire } from 'node:module';
import { spawnSync } from 'node:child_process';
import { chat, responses, messages, gemini } from './apis.mjs';

const [api, base, key, mode] = process.argv.slice(2);
const report = { text: '', calls: [], requests: 0, usage: [], error: '' };

// Whatever an SDK does about a failure, it does by fetch.
const fetchOnce = globalThis.fetch;
globalThis.fetch = (...args) => {
  report.requests++;
  return fetchOnce(...args);
};

const results = new Map(); // of every (call, arguments) that was run
function run(id, name, args) {
  const same = JSON.stringify([id, name, args]);
  if (results.has(same)) return results.get(same);
  let command;
  try {
    command = (typeof args === 'string' ? JSON.parse(args) : args).command;
  } catch (err) {
    command = undefined;
  }
  report.calls.push({ id, name, command: command ?? String(args) });
  const result = name === 'run' && typeof command === 'string'
    ? spawnSync('/bin/sh', ['-c', command], { encoding: 'utf8' }).stdout
    : 'there is no such tool, or no such argument';
  results.set(same, result);
  return result;
}

const tool = {
  name: 'run',
  description: 'Runs a shell command and gives its output.',
  schema: { type: 'object', properties: { command: { type: 'string' } }, required: ['command'] },
};

const require = createRequire(process.env.SALLYPORT_CLIENTS + '/');
const sdk = { chat, responses, messages, gemini }[api](require, { base, key, tool, run, stream: mode !== 'plain', bare: mode === 'bare' });
try {
  for (let turn = 0; turn < 20; turn++) {
    const { text, calls, usage } = await sdk('Please do what is to be done.');
    report.text += text;
    report.usage.push(usage);
    if (calls === 0) break;
  }
} catch (err) {
  report.error = String(err);
}
process.stdout.write(JSON.stringify(report) + '\n', () => process.exit(report.error ? 1 : 0));
