// npm test: the rules without a server, the hash against Node's.

import assert from 'node:assert';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import { masked, settings } from './rules.js';
import { sha256 } from './sha256.js';

const call = (rules, text) => masked(rules, { payload: new TextEncoder().encode(text) });
const rules = settings([['blank', 'flight, crew'], ['hash', 'tailnum'], ['salt', 's']]);

test('the hash is SHA-256', () => {
  for (const length of [0, 1, 55, 56, 63, 64, 119, 1000]) {
    const bytes = Uint8Array.from({ length }, (_, i) => i * 7);
    assert.equal(sha256(bytes), createHash('sha256').update(bytes).digest('hex'), `${length} bytes`);
  }
});

test('fields are hashed and blanked', () => {
  const outcome = call(rules, '{"carrier":"UA","flight":1545,"tailnum":"N14228"}');
  const tailnum = createHash('sha256').update('s\0N14228').digest('hex').slice(0, 16);
  assert.equal(outcome.tag, 'replace');
  assert.deepEqual(JSON.parse(new TextDecoder().decode(outcome.val.payload)), { carrier: 'UA', flight: null, tailnum });
});

test('what has nothing to mask is kept, what is no record is rejected', () => {
  assert.equal(call(rules, '{"carrier":"UA","tailnum":null}').tag, 'keep');
  assert.equal(call(rules, '{').val.code, 'not_json');
  assert.equal(call(rules, '7').val.code, 'not_a_record');
});

test('the configuration is checked', () => {
  for (const config of [[], [['hash', 'a']], [['blank', ' , ']], [['blnk', 'a']]]) {
    assert.throws(() => settings(config), (why) => typeof why === 'string');
  }
});
