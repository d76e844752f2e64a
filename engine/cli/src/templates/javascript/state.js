// Numbers the flights of each carrier. How many there were is in the function's bucket, one key for each carrier, and is
// committed together with the messages.

import { get, set } from 'millstream:function/bucket@0.2.0';

/** @param {[string, string][]} config */
export function configure(config) {
  // What is thrown is the text that the person who deploys reads.
  for (const [name] of config) throw `unknown configuration \`${name}\`; known: none`;
}

export function process(batch) {
  return batch.map(outcome);
}

/** What becomes of one message. */
function outcome(message) {
  const record = parse(message.payload);
  if (record === undefined) return reject('not_a_record', 'it is no JSON object');
  const carrier = record.carrier;
  // It becomes a key.
  if (typeof carrier !== 'string' || !/^[A-Za-z0-9]+$/.test(carrier)) {
    return reject('bad_carrier', 'it must have letters and digits only', '/carrier');
  }
  try {
    const before = get(carrier);
    const number = before === undefined ? 1 : Number(new TextDecoder().decode(before)) + 1;
    set(carrier, new TextEncoder().encode(String(number)));
    return replace({ ...record, number });
  } catch (error) {
    return reject('bucket', String(error.payload ?? error));
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
