// Writes beside each flight how many seats its plane has: bucket `planes`, by `tailnum`.

import { value } from 'millstream:function/stations@0.2.0';

/** @param {[string, string][]} config */
export function configure(config) {
  // What is thrown is the text that the person who deploys reads.
  for (const [name] of config) throw `unknown configuration \`${name}\`; known: none`;
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
  const tailnum = record.tailnum;
  if (typeof tailnum !== 'string') return { tag: 'keep' };
  // It becomes a key.
  if (!/^[A-Za-z0-9]+$/.test(tailnum)) {
    return reject('bad_tailnum', 'it must have letters and digits only', '/tailnum');
  }
  try {
    const plane = value('planes', tailnum);
    if (plane === undefined) return { tag: 'keep' };
    const { seats = null } = JSON.parse(new TextDecoder().decode(plane));
    return replace({ ...record, seats });
  } catch (error) {
    return reject('lookup', String(error.payload ?? error));
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
