// Says of each flight whether it left late.
//
// Configuration: `late_after_minutes`, 15 when it is not set.

import { write } from 'millstream:function/log@0.2.0';

let lateAfterMinutes = 15;

/** @param {[string, string][]} config */
export function configure(config) {
  for (const [name, value] of config) {
    // What is thrown is the text that the person who deploys reads.
    if (name !== 'late_after_minutes') throw `unknown configuration \`${name}\`; known: \`late_after_minutes\``;
    lateAfterMinutes = Number(value);
    if (value.trim() === '' || Number.isNaN(lateAfterMinutes)) throw `\`${name}\` must be a number`;
  }
  write('debug', `late after ${lateAfterMinutes} minutes`);
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
  const delay = record.dep_delay;
  // A cancelled flight never left.
  if (delay === undefined || delay === null) return { tag: 'keep' };
  if (typeof delay !== 'number') return reject('no_number', 'it must be a number', '/dep_delay');
  return replace({ ...record, band: delay >= lateAfterMinutes ? 'late' : 'on_time' });
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
