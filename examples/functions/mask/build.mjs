// Builds mask.wasm from source: node build.mjs [where to]
// Without the engine's clocks, random numbers, standard output and network the component imports nothing of WASI.

import { writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { componentize } from '@bytecodealliance/componentize-js';

const here = dirname(fileURLToPath(import.meta.url));
const to = process.argv[2] ?? join(here, 'mask.wasm');

const { component, imports } = await componentize({
  sourcePath: join(here, 'mask.js'),
  witPath: join(here, '../../../functions/api/wit'),
  worldName: 'pure',
  disableFeatures: ['stdio', 'random', 'clocks', 'http', 'fetch-event'],
});
await writeFile(to, component);
console.log(`${to}: ${component.length} bytes, imports ${imports.map((name) => name.join('.')).join(', ')}`);
