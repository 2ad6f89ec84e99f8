// What doubles of services share. Each is a server on port 443, with the certificate of the test, for some names; every request
// is printed on standard output as JSON. What a test tells the double comes to a port of its own.

import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer as plain } from 'node:http';
import { createServer as secure } from 'node:https';
import { createRequire } from 'node:module';

// Where clients and servers were installed.
export const require = createRequire(`${process.env.PEERS}/`);

export const print = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);

// What a client's script tells the double that it drives.
export const tell = (words) => fetch(`${process.argv[2]}/${words}`);

// A secret as it stands in the log.
export const mark = (value) => createHash('sha256').update(value).digest('hex').slice(0, 16);

// An answer: a status, headers, and a body that is JSON unless it is text.
export const answer = (status, body, headers = {}) => ({ status, body, headers });
export const html = (text) => answer(200, `<!doctype html>${text}`, { 'content-type': 'text/html' });
export const redirect = (url) => answer(302, '', { location: String(url) });

// A page with one form that sends its fields back to where it came from.
export const form = (title, fields) => html(`<title>${title}</title><form method="post">${
  fields.map(([name, value]) => `<input name="${name}" value="${value}">`).join('')}<button>Go</button></form>`);

const body = async (request) => {
  let text = '';
  for await (const chunk of request) text += chunk;
  if (!text) return {};
  return (request.headers['content-type'] ?? '').includes('json') ? JSON.parse(text)
    : Object.fromEntries(new URLSearchParams(text));
};

const send = (response, { status, body, headers, lost }) => {
  const text = typeof body === 'string' ? body : JSON.stringify(body);
  const type = typeof body === 'string' ? 'text/plain' : 'application/json; charset=utf-8';
  // A connection that breaks where an answer should be.
  if (lost) return response.destroy();
  response.writeHead(status, { 'content-type': type, ...headers });
  response.end(status === 204 ? undefined : text);
};

// `hosts` answers by name: async ({ method, url, path, query, headers, body, raw }) => answer, or nothing where it answered
// by itself. `told` does what a test says.
export const serve = (hosts, told = {}) => {
  const options = { cert: readFileSync(process.env.TLS_CERTIFICATE), key: readFileSync(process.env.TLS_KEY) };
  secure(options, async (request, response) => {
    const url = new URL(request.url, `https://${request.headers.host}`);
    const host = hosts[url.hostname];
    const query = Object.fromEntries(url.searchParams);
    const asked = { method: request.method, url, path: url.pathname, query, headers: request.headers };
    try {
      const given = host.raw ? await host.raw(request, response, url) : await host({ ...asked, body: await body(request) });
      if (given) {
        print({ host: url.hostname, method: request.method, path: url.pathname, status: given.status, ...given.log });
        send(response, given);
      }
    } catch (error) {
      print({ failed: error.stack });
      send(response, answer(500, { message: 'the double failed' }));
    }
  }).listen(443, '127.0.0.1');
  plain((request, response) => {
    const url = new URL(request.url, 'http://localhost');
    const [, word, ...more] = url.pathname.split('/');
    if (word && !told[word]) return send(response, answer(404, 'nothing is known by that name'));
    if (word) told[word](...more);
    send(response, answer(200, 'yes'));
  }).listen(Number(process.argv[2]), '127.0.0.1');
};
