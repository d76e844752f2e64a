// Makes the component: node build.mjs [where to]
// Without the engine's clocks, random numbers, standard output and network it imports nothing of WASI.

import { writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { componentize } from '@bytecodealliance/componentize-js';

const here = dirname(fileURLToPath(import.meta.url));

const { component } = await componentize({
  sourcePath: join(here, 'function.js'),
  witPath: join(here, 'wit'),
  worldName: '@world@',
  disableFeatures: ['stdio', 'random', 'clocks', 'http', 'fetch-event'],
});
await writeFile(process.argv[2] ?? join(here, '@name@.wasm'), component);
