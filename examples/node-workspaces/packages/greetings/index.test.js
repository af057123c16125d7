'use strict';

const assert = require('node:assert');
const { test } = require('node:test');
const { greeting } = require('./index.js');

test('a language that nobody speaks is answered in English', () => {
  assert.strictEqual(greeting('tlh'), 'Hello');
});
