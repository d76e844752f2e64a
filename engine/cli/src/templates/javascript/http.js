// Asks another host about each record: posts it there and writes the JSON answer beside its fields.
//
// Configuration: `url`, where to ask.

import { fetch as ask } from 'millstream:function/web@0.2.0';

// After so many tries a record is rejected.
const TRIES = 5;
const PAUSE_MILLISECONDS = 1000n;

let url = '';

/** @param {[string, string][]} config */
export function configure(config) {
  for (const [name, value] of config) {
    // What is thrown is the text that the person who deploys reads.
    if (name !== 'url') throw `unknown configuration \`${name}\`; known: \`url\``;
    url = value;
  }
  if (url === '') throw '`url` is missing: where to ask';
}

export function process(batch) {
  return batch.map((message) => {
    try {
      return outcome(message);
    } catch (error) {
      // Caught here it rejects one message and its text is kept; else it would stop the engine.
      return reject('exception', String(error));
    }
  });
}

/** What becomes of one message. */
function outcome(message) {
  const record = parse(message.payload);
  if (record === undefined) return reject('not_a_record', 'it is no JSON object');
  let response, trouble;
  try {
    response = ask({ method: 'POST', url, headers: [['content-type', 'application/json']], body: message.payload });
    if (response.status >= 500) trouble = `status ${response.status}`;
  } catch (error) {
    trouble = String(error.payload ?? error);
  }
  // A host that is away and one that has trouble may both be well in a moment.
  if (trouble !== undefined) {
    if (message.deliveries + 1 < TRIES) return { tag: 'retry', val: PAUSE_MILLISECONDS };
    return reject('unavailable', trouble);
  }
  if (response.status !== 200) return reject('refused', `status ${response.status}`);
  try {
    return replace({ ...record, answer: JSON.parse(new TextDecoder().decode(response.body)) });
  } catch (error) {
    return reject('bad_answer', String(error));
  }
}

/** A JSON object, or undefined. */
function parse(payload) {
  try {
    const value = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(payload));
    return value !== null && typeof value === 'object' && !Array.isArray(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

function replace(record) {
  return { tag: 'replace', val: { payload: new TextEncoder().encode(JSON.stringify(record)) } };
}

function reject(code, reason, path) {
  return { tag: 'reject', val: { code, reason, path } };
}
