// node's `pg` against a server with flights: what its users write.
const assert = require('node:assert');
const { Client } = require('pg');
const Cursor = require('pg-cursor');

const [host, port, united, american] = process.argv.slice(2);
const options = { host, port: Number(port), user: 'ann', password: 'pw', database: 'millstream' };

async function main() {
  const client = new Client(options);
  await client.connect();
  const rows = async (...question) => (await client.query(...question)).rows;
  const count = async (where, values) => Number((await rows(`SELECT count(*) FROM flights WHERE ${where}`, values))[0].count);
  assert.strictEqual(await count('carrier = $1', ['UA']), Number(united));
  assert.strictEqual(await count('carrier = ANY($1)', [['UA', 'AA']]), Number(united) + Number(american));
  assert.strictEqual(await count('flight = ANY($1::int[])', [[]]), 0);
  assert.strictEqual(await count('_time > $1', [new Date(0)]), await count('true', []));
  assert.strictEqual(await count('carrier = $1', [null]), 0);
  for (const [carrier, want] of [['UA', united], ['AA', american]]) {
    const question = { name: 'prepared', text: 'SELECT count(*) AS n FROM flights WHERE carrier = $1', values: [carrier] };
    assert.deepStrictEqual(await rows(question), [{ n: want }]);
  }
  const sql = "SELECT make_array(1, 2) AS a, make_array('a', 'b') AS b, CAST(1.50 AS DECIMAL(10, 2)) AS d, _headers, TRUE AS t, _time, \
    NULL AS nothing FROM flights LIMIT 1";
  const [row] = await rows(sql);
  assert.ok(row._time instanceof Date);
  delete row._time;
  assert.deepStrictEqual(row, { a: ['1', '2'], b: ['a', 'b'], d: '1.50', _headers: {}, t: true, nothing: null });
  const twice = await client.query({ text: 'SELECT 1 AS a, 2 AS a', rowMode: 'array' });
  assert.deepStrictEqual(twice.rows, [['1', '2']]);
  const several = await client.query('SELECT 1 AS a; SELECT 2 AS b');
  assert.deepStrictEqual(several.map((one) => one.rows), [[{ a: '1' }], [{ b: '2' }]]);
  const cursor = client.query(new Cursor('SELECT _sequence FROM flights ORDER BY _sequence'));
  assert.deepStrictEqual(await cursor.read(2), [{ _sequence: '1' }, { _sequence: '2' }]);
  assert.deepStrictEqual(await cursor.read(1), [{ _sequence: '3' }]);
  await cursor.close();
  await assert.rejects(rows('SELECT nope FROM flights WHERE carrier = $1', ['x']), { code: '42703', position: '8' });
  await client.query('BEGIN');
  assert.deepStrictEqual(await rows('SELECT 1 AS a'), [{ a: '1' }]);
  await client.query('COMMIT');
  assert.deepStrictEqual(await rows(''), []);
  await client.end();
  const hasty = new Client({ ...options, statement_timeout: 200, application_name: 'hasty' });
  await hasty.connect();
  const endless = 'SELECT count(*) FROM generate_series(1, 10000000) a, generate_series(1, 1000000) b';
  await assert.rejects(hasty.query(endless), { code: '57014' });
  await hasty.end();
  console.log('all done');
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
