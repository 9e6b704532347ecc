import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { test } from 'node:test';

const VENDOR = new URL('../vendor/', import.meta.url);

test('what the page takes from others is what its list says', () => {
  const rows = readFileSync(new URL('README.md', VENDOR), 'utf8').matchAll(/^\| `([^`]+)` \|.*\| ([\d.]+) \|.*`([0-9a-f]{64})` \|$/gm);
  const listed = new Map([...rows].map(([, name, version, hash]) => [name, { version, hash }]));
  const scripts = readdirSync(VENDOR).filter((name) => name.endsWith('.js'));
  assert.deepEqual([...listed.keys()].sort(), scripts.sort());
  for (const [name, { version, hash }] of listed) {
    const bytes = readFileSync(new URL(name, VENDOR));
    assert.equal(createHash('sha256').update(bytes).digest('hex'), hash, name);
    assert.ok(bytes.toString('utf8', 0, 200).includes(version), `${name} is not of version ${version}`);
  }
});
