'use strict';

const express = require('express');
const { greeting } = require('@example/greetings');

const app = express();
app.get('/', (request, response) => {
  response.json({ greeting: greeting(request.query.language) });
});

const server = app.listen(Number(process.env.PORT), '0.0.0.0');
// Process 1 of a container is ended by no signal that it does not handle.
for (const signal of ['SIGINT', 'SIGTERM']) {
  process.on(signal, () => server.close(() => process.exit(0)));
}
