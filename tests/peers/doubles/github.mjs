// GitHub, as far as the connector uses it: signing in (device flow and in a browser) at github.com, and the REST API at
// api.github.com. github-client.mjs drives it with GitHub's own Octokit.
//
// told: limit/primary, limit/secondary   the next request of the API is one too many
//       expire                           tokens that were given are good no longer

import { createHash, randomBytes } from 'node:crypto';
import { answer, form, html, mark, redirect, serve } from './double.mjs';

const CLIENT = { id: 'Iv1.0123456789abcdef', secret: 'github-secret-of-the-test' };
const user = { login: 'octocat', id: 583231, node_id: 'MDQ6VXNlcjU4MzIzMQ==', name: 'The Octocat', type: 'User' };
const repositories = ['hello-world', 'spoon-knife', 'linguist'].map((name, index) => ({
  id: index + 1, name, full_name: `octocat/${name}`, private: index === 1, description: index ? null : 'My first repository',
  default_branch: 'main', html_url: `https://github.com/octocat/${name}`, owner: user,
}));
const issues = [5, 4, 3, 2, 1].map((number) => ({
  number, title: `Issue ${number}`, state: number === 2 ? 'closed' : 'open', body: null, user, labels: [{ name: 'bug' }],
  created_at: '2026-01-01T00:00:00Z', html_url: `https://github.com/octocat/hello-world/issues/${number}`,
  ...(number === 3 ? { pull_request: { url: 'https://api.github.com/repos/octocat/hello-world/pulls/3' } } : {}),
}));

const random = (beginning) => beginning + randomBytes(18).toString('hex');
const devices = new Map();
const codes = new Map();
let tokens = new Map();
let limit;

const grant = (scope) => {
  const token = random('gho_');
  tokens.set(token, scope);
  // Scopes are asked for with spaces or commas between, and named with commas.
  return { access_token: token, token_type: 'bearer', scope };
};
const scopes = (text = '') => text.split(/[ ,]+/).filter(Boolean).join(',');

// Every answer of the token endpoint has the status 200, a refusal too.
const refused = (error, description) => ({
  error, error_description: description, error_uri: `https://docs.github.com/apps/managing-oauth-apps/troubleshooting-oauth-app-access-token-request-errors/#${error}`,
});

const token = ({ client_id, client_secret, grant_type, device_code, code, code_verifier, redirect_uri }) => {
  if (client_id !== CLIENT.id) return refused('incorrect_client_credentials', 'The client_id and/or client_secret passed are incorrect.');
  if (grant_type === 'urn:ietf:params:oauth:grant-type:device_code') {
    const device = devices.get(device_code);
    if (!device) return refused('incorrect_device_code', 'The device_code provided is not valid.');
    if (device.denied) return refused('access_denied', 'The authorization request was denied.');
    if (!device.approved) return refused('authorization_pending', 'The authorization request is still pending.');
    devices.delete(device_code);
    return grant(device.scope);
  }
  if (client_secret !== CLIENT.secret) return refused('incorrect_client_credentials', 'The client_id and/or client_secret passed are incorrect.');
  const given = codes.get(code);
  codes.delete(code);
  const bound = given?.challenge === undefined
    || given.challenge === createHash('sha256').update(code_verifier ?? '').digest('base64url');
  if (!given || given.redirect_uri !== redirect_uri || !bound) {
    return refused('bad_verification_code', 'The code passed is incorrect or expired.');
  }
  return grant(given.scope);
};

// What is not asked for as JSON is answered as a form.
const written = (asked, body) => ((asked.headers.accept ?? '').includes('application/json')
  ? answer(200, body)
  : answer(200, new URLSearchParams(body).toString(), { 'content-type': 'application/x-www-form-urlencoded; charset=utf-8' }));

const site = (asked) => {
  const { method, path, query, body } = asked;
  if (path === '/login/device/code' && method === 'POST') {
    if (body.client_id !== CLIENT.id) return answer(404, { error: 'Not Found' });
    const device = { scope: scopes(body.scope), user_code: `${random('').slice(0, 4)}-${random('').slice(0, 4)}`.toUpperCase() };
    const device_code = random('');
    devices.set(device_code, device);
    return written(asked, {
      device_code, user_code: device.user_code, verification_uri: 'https://github.com/login/device', expires_in: 899, interval: 1,
    });
  }
  if (path === '/login/device') {
    if (method === 'GET') return form('Device activation', [['user_code', ''], ['decision', 'yes']]);
    const device = [...devices.values()].find((it) => it.user_code === body.user_code);
    if (!device) return answer(404, 'There is no such code');
    device[body.decision === 'yes' ? 'approved' : 'denied'] = true;
    return html('<h1>Congratulations, you are all set!</h1>');
  }
  if (path === '/login/oauth/authorize') {
    if (query.client_id !== CLIENT.id) return answer(404, 'Not Found');
    if (method === 'GET') return form('Authorize', [['decision', 'yes']]);
    const code = random('');
    codes.set(code, { scope: scopes(query.scope), redirect_uri: query.redirect_uri, challenge: query.code_challenge });
    const back = new URL(query.redirect_uri);
    back.searchParams.set('code', code);
    back.searchParams.set('state', query.state);
    return redirect(back);
  }
  if (path === '/login/oauth/access_token' && method === 'POST') {
    const given = token(body);
    const { code_verifier, client_secret, grant_type, scope } = body;
    return {
      ...written(asked, given),
      log: { grant_type, scope, bound: Boolean(code_verifier), secret: Boolean(client_secret), error: given.error, given: given.access_token && mark(given.access_token) },
    };
  }
  return answer(404, 'Not Found');
};

const message = (status, text, headers = {}, more = {}) =>
  answer(status, { message: text, documentation_url: 'https://docs.github.com/rest', status: String(status), ...more }, headers);

// A page, and the links to its neighbours.
const page = ({ query }, all, at) => {
  const size = Number(query.per_page ?? 30);
  const number = Number(query.page ?? 1);
  const last = Math.ceil(all.length / size);
  const link = (to, rel) => {
    const url = new URL(at, 'https://api.github.com');
    for (const [name, value] of Object.entries({ ...query, page: to })) url.searchParams.set(name, value);
    return `<${url}>; rel="${rel}"`;
  };
  const links = [
    ...(number > 1 ? [link(number - 1, 'prev')] : []),
    ...(number < last ? [link(number + 1, 'next'), link(last, 'last')] : []),
  ];
  const headers = links.length ? { link: links.join(', ') } : {};
  return answer(200, all.slice((number - 1) * size, number * size), headers);
};

const api = (asked) => {
  const { method, path, query, headers, body } = asked;
  if (!headers['user-agent']) return answer(403, 'Request forbidden by administrative rules.');
  const given = /^(?:token|bearer) (.+)$/i.exec(headers.authorization ?? '')?.[1];
  if (!given) return message(401, 'Requires authentication');
  if (!tokens.has(given)) return message(401, 'Bad credentials');
  if (limit) {
    const kind = limit;
    limit = undefined;
    const reset = String(Math.floor(Date.now() / 1000) + 1800);
    return kind === 'primary'
      ? message(403, 'API rate limit exceeded for user ID 583231.', { 'x-ratelimit-limit': '5000', 'x-ratelimit-remaining': '0', 'x-ratelimit-reset': reset })
      : message(403, 'You have exceeded a secondary rate limit. Please wait a few minutes before you try again.', { 'retry-after': '60', 'x-ratelimit-remaining': '4000', 'x-ratelimit-reset': reset });
  }
  const log = { token: mark(given), version: headers['x-github-api-version'] };
  const answered = () => {
    if (path === '/user') return answer(200, user, { 'x-oauth-scopes': tokens.get(given).replace(',', ', ') });
    if (path === '/user/repos') return page(asked, repositories, '/user/repos');
    const list = /^\/(?:repos\/octocat\/hello-world|repositories\/1)\/issues$/.test(path);
    if (list && method === 'GET') {
      const state = query.state ?? 'open';
      return page(asked, issues.filter((issue) => state === 'all' || issue.state === state), '/repositories/1/issues');
    }
    if (list && method === 'POST') {
      if (!body.title) {
        return message(422, 'Validation Failed', {}, { errors: [{ resource: 'Issue', code: 'missing_field', field: 'title' }] });
      }
      const issue = {
        ...issues[0], number: issues.length + 1, title: body.title, body: body.body ?? null, labels: (body.labels ?? []).map((name) => ({ name })),
      };
      issues.unshift(issue);
      return answer(201, issue);
    }
    if (path === '/repos/octocat/spoon-knife/issues') return message(410, 'Issues are disabled for this repo');
    return message(404, 'Not Found');
  };
  return { ...answered(), log };
};

serve({ 'github.com': site, 'api.github.com': api }, {
  limit: (kind) => { limit = kind; },
  expire: () => { tokens = new Map(); },
});
