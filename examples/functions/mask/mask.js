// Masks fields that say too much about people: some become a hash, by which records can still be grouped, some null.
//
// Configuration: `hash` and `blank`, names of fields with commas between them; `salt`, which whoever wants to guess what
// a hash stands for has to know, needed with `hash`.

import { write } from 'millstream:function/log@0.2.0';
import { masked, settings } from './rules.js';

let rules = { hash: [], blank: [], salt: '' };

/** @param {[string, string][]} config */
export function configure(config) {
  // What is thrown is the text that the person who deploys reads.
  rules = settings(config);
  write('info', `hashes ${rules.hash.length} fields, blanks ${rules.blank.length}`);
}

export function process(batch) {
  return batch.map((message) => masked(rules, message));
}
