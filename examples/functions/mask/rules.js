// What mask.js does, without anything of the server, so that `npm test` can run it.

import { sha256 } from './sha256.js';

// Hexadecimal digits that are kept of a hash: 64 bits, too many to meet by chance.
const DIGITS = 16;

/** The configuration as lists; throws a text that says what is wrong with it. */
export function settings(config) {
  const rules = { hash: [], blank: [], salt: '' };
  for (const [name, value] of config) {
    if (!(name in rules)) throw `unknown configuration \`${name}\`; known: \`blank\`, \`hash\`, \`salt\``;
    rules[name] = name === 'salt' ? value : value.split(',').map((field) => field.trim()).filter(Boolean);
  }
  if (rules.hash.length + rules.blank.length === 0) throw 'name fields under `hash` or `blank`';
  if (rules.hash.length > 0 && rules.salt === '') throw '`hash` needs a `salt`';
  return rules;
}

/** What becomes of one message. */
export function masked(rules, message) {
  let record;
  try {
    record = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(message.payload));
  } catch (error) {
    return { tag: 'reject', val: { code: 'not_json', reason: String(error.message) } };
  }
  if (record === null || typeof record !== 'object' || Array.isArray(record)) {
    return { tag: 'reject', val: { code: 'not_a_record', reason: 'it is JSON, but no object' } };
  }
  let changed = false;
  const set = (field, to) => {
    // What is not there says nothing about anybody, and stays away.
    if (!Object.hasOwn(record, field) || record[field] === null) return;
    record[field] = to(record[field]);
    changed = true;
  };
  for (const field of rules.hash) set(field, (value) => hashed(rules.salt, value));
  for (const field of rules.blank) set(field, () => null);
  if (!changed) return { tag: 'keep' };
  return { tag: 'replace', val: { payload: new TextEncoder().encode(JSON.stringify(record)) } };
}

/** The same for the same value, and nothing that leads back to it without the salt. */
function hashed(salt, value) {
  const text = typeof value === 'string' ? value : JSON.stringify(value);
  return sha256(new TextEncoder().encode(`${salt}\0${text}`)).slice(0, DIGITS);
}
