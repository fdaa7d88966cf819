// One conversation per API. Each function gives one that asks the model once,
// runs what it calls, adds the results to the conversation, and says what the
// model said, how many calls there were, and the usage as the SDK tells it.

const numbers = (names) => Object.fromEntries(Object.entries(names).map(([k, v]) => [k, v ?? 0]));

export function chat(require, { base, key, tool, run, stream, bare }) {
  const { OpenAI } = require('openai');
  const client = new OpenAI({ apiKey: key, baseURL: base + '/v1' });
  const tools = [{ type: 'function', function: { name: tool.name, description: tool.description, parameters: tool.schema } }];
  const history = [];
  return async (prompt) => {
    if (history.length === 0) history.push({ role: 'user', content: prompt });
    const body = { model: 'gpt-test', messages: history, tools };
    let done;
    if (stream) {
      const s = client.chat.completions.stream(bare ? body : { ...body, stream_options: { include_usage: true } });
      s.on('tool_calls.function.arguments.done', (e) => {
        for (const choice of s.currentChatCompletionSnapshot?.choices ?? []) {
          const call = choice.message.tool_calls?.[e.index];
          if (call?.function?.name === e.name) run(call.id, e.name, e.arguments);
        }
      });
      done = await s.finalChatCompletion();
    } else {
      done = await client.chat.completions.create(body);
    }
    let calls = 0;
    for (const choice of done.choices) {
      const said = choice.message;
      if (choice.index === 0) history.push({ role: 'assistant', content: said.content, ...(said.tool_calls?.length ? { tool_calls: said.tool_calls } : {}) });
      for (const call of said.tool_calls ?? []) {
        calls++;
        const content = run(call.id, call.function.name, call.function.arguments);
        if (choice.index === 0) history.push({ role: 'tool', tool_call_id: call.id, content });
      }
    }
    const u = done.usage;
    return {
      text: done.choices[0].message.content ?? '',
      calls,
      usage: u && numbers({
        prompt_tokens: u.prompt_tokens, completion_tokens: u.completion_tokens, total_tokens: u.total_tokens,
        cached_tokens: u.prompt_tokens_details?.cached_tokens, reasoning_tokens: u.completion_tokens_details?.reasoning_tokens,
      }),
    };
  };
}

export function responses(require, { base, key, tool, run, stream }) {
  const { OpenAI } = require('openai');
  const client = new OpenAI({ apiKey: key, baseURL: base + '/v1' });
  const tools = [{ type: 'function', name: tool.name, description: tool.description, parameters: tool.schema, strict: false }];
  const input = [];
  return async (prompt) => {
    if (input.length === 0) input.push({ role: 'user', content: prompt });
    const body = { model: 'gpt-test', input, tools };
    let done;
    if (stream) {
      const s = client.responses.stream(body);
      const begun = new Map();
      s.on('event', (e) => {
        if (e.type === 'response.output_item.added' && e.item.type === 'function_call') begun.set(e.item.id, e.item);
        if (e.type === 'response.function_call_arguments.done') {
          const item = begun.get(e.item_id);
          if (item) run(item.call_id, item.name, e.arguments);
        }
        if (e.type === 'response.output_item.done' && e.item.type === 'function_call') run(e.item.call_id, e.item.name, e.item.arguments);
      });
      done = await s.finalResponse();
      // A failure that comes in a stream is no exception to this SDK.
      if (done.status === 'failed') throw new Error(done.error?.message ?? 'the response failed');
    } else {
      done = await client.responses.create(body);
    }
    let calls = 0;
    input.push(...done.output);
    for (const item of done.output) {
      if (item.type !== 'function_call') continue;
      calls++;
      input.push({ type: 'function_call_output', call_id: item.call_id, output: run(item.call_id, item.name, item.arguments) });
    }
    const u = done.usage;
    return {
      text: done.output_text ?? '',
      calls,
      usage: u && numbers({
        input_tokens: u.input_tokens, output_tokens: u.output_tokens, total_tokens: u.total_tokens,
        cached_tokens: u.input_tokens_details?.cached_tokens, reasoning_tokens: u.output_tokens_details?.reasoning_tokens,
      }),
    };
  };
}

export function messages(require, { base, key, tool, run, stream }) {
  const { Anthropic } = require('@anthropic-ai/sdk');
  const client = new Anthropic({ apiKey: key, baseURL: base });
  const tools = [{ name: tool.name, description: tool.description, input_schema: tool.schema }];
  const history = [];
  return async (prompt) => {
    if (history.length === 0) history.push({ role: 'user', content: prompt });
    const body = { model: 'claude-test', max_tokens: 1000, messages: history, tools };
    let done;
    if (stream) {
      const s = client.messages.stream(body);
      s.on('streamEvent', (e, snapshot) => {
        const block = e.type === 'content_block_stop' ? snapshot.content[e.index] : undefined;
        if (block?.type === 'tool_use') run(block.id, block.name, block.input);
      });
      done = await s.finalMessage();
    } else {
      done = await client.messages.create(body);
    }
    const results = done.content.filter((b) => b.type === 'tool_use')
      .map((b) => ({ type: 'tool_result', tool_use_id: b.id, content: run(b.id, b.name, b.input) }));
    history.push({ role: 'assistant', content: done.content });
    if (results.length > 0) history.push({ role: 'user', content: results });
    const u = done.usage;
    return {
      text: done.content.filter((b) => b.type === 'text').map((b) => b.text).join(''),
      calls: results.length,
      usage: u && numbers({
        input_tokens: u.input_tokens, output_tokens: u.output_tokens, thinking_tokens: u.output_tokens_details?.thinking_tokens,
        cache_read_input_tokens: u.cache_read_input_tokens, cache_creation_input_tokens: u.cache_creation_input_tokens,
      }),
    };
  };
}

export function gemini(require, { base, key, tool, run, stream }) {
  const { GoogleGenAI } = require('@google/genai');
  const client = new GoogleGenAI({ apiKey: key, httpOptions: { baseUrl: base } });
  const config = { tools: [{ functionDeclarations: [{ name: tool.name, description: tool.description, parametersJsonSchema: tool.schema }] }] };
  const contents = [];
  return async (prompt) => {
    if (contents.length === 0) contents.push({ role: 'user', parts: [{ text: prompt }] });
    const body = { model: 'gemini-test', contents, config };
    const pieces = stream
      ? await client.models.generateContentStream(body)
      : [await client.models.generateContent(body)];
    const parts = [], results = [];
    let text = '', u;
    for await (const piece of pieces) {
      u = piece.usageMetadata ?? u;
      for (const candidate of piece.candidates ?? []) {
        for (const part of candidate.content?.parts ?? []) {
          if (candidate.index === 0 || candidate.index === undefined) {
            parts.push(part);
            if (part.text && !part.thought) text += part.text;
          }
          const call = part.functionCall;
          if (!call) continue;
          const output = run(call.id, call.name, call.args);
          results.push({ functionResponse: { id: call.id, name: call.name, response: { output } } });
        }
      }
    }
    contents.push({ role: 'model', parts });
    if (results.length > 0) contents.push({ role: 'user', parts: results });
    return {
      text,
      calls: results.length,
      usage: u && numbers({
        promptTokenCount: u.promptTokenCount, candidatesTokenCount: u.candidatesTokenCount, totalTokenCount: u.totalTokenCount,
        cachedContentTokenCount: u.cachedContentTokenCount, thoughtsTokenCount: u.thoughtsTokenCount,
      }),
    };
  };
}
