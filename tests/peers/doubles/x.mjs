// X (Twitter), as far as the connector uses it: signing in at x.com with PKCE, and the API v2 at api.x.com with the token endpoint
// of a confidential client. Refresh tokens are good for one use; one that comes back ends everything. x-own-client.mjs
// drives it with X's own XDK, x-client.mjs with twitter-api-v2.
//
// told: expire   access tokens that were given are good no longer
//       limit    the next request of the API is one too many

import { createHash, randomBytes } from 'node:crypto';
import { answer, form, mark, redirect, serve } from './double.mjs';

const CLIENT = { id: 'eHgtY2xpZW50OjE6Y2k', secret: 'x-secret-of-the-test' };
const me = { id: '2244994945', name: 'Jo Doe', username: 'jo_doe' };
let posts = Array.from({ length: 12 }, (_, index) => ({
  id: String(1700000000000000000n - BigInt(index)), edit_history_tweet_ids: [], text: `Post ${12 - index}`, created_at: '2026-01-01T00:00:00.000Z',
}));

const codes = new Map();
let tokens = new Map();
let renewals = new Map();
let limited = false;
const random = () => randomBytes(32).toString('base64url');

const grant = (scope) => {
  const access_token = random();
  tokens.set(access_token, scope);
  const given = { token_type: 'bearer', expires_in: 7200, access_token, scope };
  if (scope.split(' ').includes('offline.access')) {
    given.refresh_token = random();
    renewals.set(given.refresh_token, { scope, spent: false });
  }
  return answer(200, given);
};
const refused = (status, error, error_description) => answer(status, { error, error_description });

const basic = `Basic ${Buffer.from(`${CLIENT.id}:${CLIENT.secret}`).toString('base64')}`;
const token = ({ headers, body }) => {
  if (headers.authorization !== basic) return refused(401, 'unauthorized_client', 'Missing valid authorization header');
  if (body.grant_type === 'authorization_code') {
    const code = codes.get(body.code);
    codes.delete(body.code);
    const challenge = createHash('sha256').update(body.code_verifier ?? '').digest('base64url');
    if (!code || code.redirect_uri !== body.redirect_uri || code.challenge !== challenge) {
      return refused(400, 'invalid_request', 'Value passed for the authorization code was invalid.');
    }
    return grant(code.scope);
  }
  if (body.grant_type === 'refresh_token') {
    const renewal = renewals.get(body.refresh_token);
    if (renewal?.spent) [tokens, renewals] = [new Map(), new Map()];
    if (!renewal || renewal.spent) return refused(400, 'invalid_request', 'Value passed for the token was invalid.');
    renewal.spent = true;
    return grant(renewal.scope);
  }
  return refused(400, 'unsupported_grant_type', 'The grant type is not supported.');
};

const site = ({ method, path, query }) => {
  const proper = path === '/i/oauth2/authorize' && query.response_type === 'code' && query.client_id === CLIENT.id
    && query.code_challenge && /^s256$/i.test(query.code_challenge_method ?? '');
  if (!proper) return answer(400, 'Something went wrong. You weren’t able to give access to the App.');
  if (method === 'GET') return form('Authorize app', []);
  const code = random();
  codes.set(code, { scope: query.scope, redirect_uri: query.redirect_uri, challenge: query.code_challenge });
  const back = new URL(query.redirect_uri);
  back.searchParams.set('state', query.state);
  back.searchParams.set('code', code);
  return redirect(back);
};

const problem = (status, title, detail, more = {}) => answer(status, { title, detail, type: 'about:blank', status, ...more });
const invalid = (name, message) => answer(400, {
  errors: [{ parameters: { [name]: [] }, message }], title: 'Invalid Request',
  detail: 'One or more parameters to your request was invalid.', type: 'https://api.x.com/2/problems/invalid-request',
});

const api = (asked) => {
  const { method, path, query, headers, body } = asked;
  const given = /^Bearer (.+)$/.exec(headers.authorization ?? '')?.[1] ?? '';
  if (!tokens.has(given)) return problem(401, 'Unauthorized', 'Unauthorized');
  if (limited) {
    limited = false;
    return problem(429, 'Too Many Requests', 'Too Many Requests');
  }
  const writes = tokens.get(given).split(' ').includes('tweet.write');
  if (path === '/2/users/me') return answer(200, { data: me });
  if (path === `/2/users/${me.id}/tweets`) {
    const size = Number(query.max_results ?? 10);
    if (size < 5 || size > 100) {
      return invalid('max_results', `The \`max_results\` query parameter value [${size}] is not between 5 and 100`);
    }
    const token = Buffer.from(query.pagination_token ?? 'MA', 'base64url').toString();
    const from = Number(token);
    if (!/^\d+$/.test(token)) return invalid('pagination_token', 'The `pagination_token` query parameter value is not valid');
    const wanted = (query['tweet.fields'] ?? '').split(',');
    const data = posts.slice(from, from + size).map(({ created_at, ...post }) => (wanted.includes('created_at') ? { ...post, created_at } : post));
    const next = from + size < posts.length ? { next_token: Buffer.from(String(from + size)).toString('base64url') } : {};
    return answer(200, { ...(data.length ? { data } : {}), meta: { result_count: data.length, ...next } });
  }
  if (path === '/2/tweets' && method === 'POST') {
    if (!writes) return problem(403, 'Forbidden', 'You are not permitted to perform this action.');
    if (!body.text) return invalid('text', 'text is required');
    if (posts.some((post) => post.text === body.text)) {
      return problem(403, 'Forbidden', 'You are not allowed to create a Tweet with duplicate content.');
    }
    const post = { id: String(1800000000000000000n + BigInt(posts.length)), edit_history_tweet_ids: [], text: body.text, created_at: '2026-02-01T00:00:00.000Z' };
    posts.unshift(post);
    return answer(201, { data: { id: post.id, edit_history_tweet_ids: [post.id], text: post.text } });
  }
  const id = /^\/2\/tweets\/(\d+)$/.exec(path)?.[1];
  if (id && method === 'DELETE') {
    const deleted = writes && posts.some((post) => post.id === id);
    posts = posts.filter((post) => post.id !== id);
    return answer(200, { data: { deleted } });
  }
  return problem(404, 'Not Found', 'Not Found');
};

const logged = (asked) => {
  if (asked.path === '/2/oauth2/token') {
    const given = token(asked);
    const { grant_type, refresh_token, code_verifier, client_secret } = asked.body;
    return {
      ...given,
      log: { grant_type, presented: refresh_token && mark(refresh_token), bound: Boolean(code_verifier), in_body: Boolean(client_secret), error: given.body.error },
    };
  }
  if (asked.path === '/2/oauth2/revoke') {
    if (asked.headers.authorization !== basic) return refused(401, 'unauthorized_client', 'Missing valid authorization header');
    tokens.delete(asked.body.token);
    renewals.delete(asked.body.token);
    return { ...answer(200, { revoked: true }), log: { hint: asked.body.token_type_hint } };
  }
  const given = api(asked);
  const limits = { 'x-rate-limit-limit': '75', 'x-rate-limit-remaining': given.status === 429 ? '0' : '74', 'x-rate-limit-reset': String(Math.floor(Date.now() / 1000) + 900) };
  return { ...given, headers: { ...given.headers, ...limits } };
};

serve({ 'x.com': site, 'api.x.com': logged }, {
  expire: () => { tokens = new Map(); },
  limit: () => { limited = true; },
});
