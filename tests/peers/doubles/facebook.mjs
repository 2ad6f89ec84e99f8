// Facebook, as far as the connector uses it: the login dialog at www.facebook.com, and the Graph API at graph.facebook.com with its
// tokens of short and long life and of pages. facebook-client.mjs drives it with Facebook's own business SDK.
//
// told: lifetime/SECONDS   how long long-lived tokens are good from now on
//       refuse/CODE        the next request of the API fails with this code
//       exchange/HOW       the next exchange is `limited` as requests are, answered with 503 (`away`), or never answered (`lost`)
//       untick/SCOPE       the person takes that away in the next dialog
//       prove              every request of the API needs an appsecret_proof, as an app can demand

import { createHmac, randomBytes } from 'node:crypto';
import { answer, form, mark, redirect, serve } from './double.mjs';

const APP = { id: '1234567890', secret: 'facebook-secret-of-the-test' };
const me = { id: '10001', name: 'Jo Doe' };
const pages = ['Bakery', 'Brewery', 'Bookshop'].map((name, index) => ({ id: String(20001 + index), name, category: 'Local business' }));

const codes = new Map();
const tokens = new Map();
let lifetime = 5183944;
let refuse;
let exchange;
let unticked;
let prove = false;

const grant = (about, expires_in) => {
  const access_token = `EAA${randomBytes(30).toString('hex')}`;
  tokens.set(access_token, { ...about, ends: expires_in ? Date.now() + expires_in * 1000 : Infinity });
  return { access_token, token_type: 'bearer', ...(expires_in ? { expires_in } : {}) };
};
// What a page's token is stays the same for whoever manages it.
const pageTokens = new Map(pages.map((page) => [page.id, grant({ page }).access_token]));

const failed = (code, message, type = 'OAuthException', status = 400, more = {}) =>
  answer(status, { error: { message, type, code, ...more, fbtrace_id: 'AbCdEfGhIjKlMnOpQrStUv' } });

// As every request that presents a token is answered where that has run out.
const ended = () => failed(190, 'Error validating access token: Session has expired.', 'OAuthException', 400, { error_subcode: 463 });
const isOver = (about) => about.ends <= Date.now();
const limited = () => failed(4, '(#4) Application request limit reached', 'OAuthException', 403, { is_transient: true });

const token = (params) => {
  if (params.client_id !== APP.id) return failed(101, 'Error validating application. Cannot get application info due to a system error.');
  if (params.client_secret !== APP.secret) return failed(1, 'Error validating client secret.');
  if (params.grant_type === 'fb_exchange_token') {
    const before = tokens.get(params.fb_exchange_token);
    if (!before) return failed(190, 'Invalid OAuth access token - Cannot parse access token');
    if (isOver(before)) return ended();
    const how = exchange;
    exchange = undefined;
    if (how === 'limited') return limited();
    if (how === 'away') return answer(503, 'Back soon');
    // It was given all the same.
    if (how === 'lost') return { ...answer(200, grant({ ...before, long: true }, lifetime)), lost: true };
    return answer(200, grant({ ...before, long: true }, lifetime));
  }
  const code = codes.get(params.code);
  codes.delete(params.code);
  if (!code) return failed(100, 'Invalid verification code format.');
  if (code.redirect_uri !== params.redirect_uri) {
    return failed(100, 'Error validating verification code. Please make sure your redirect_uri is identical to the one you used in the OAuth dialog request', 'OAuthException', 400, { error_subcode: 36008 });
  }
  return answer(200, grant({ scope: code.scope }, 5400));
};

const site = ({ method, path, query }) => {
  if (!/^\/v\d+\.0\/dialog\/oauth$/.test(path) || query.client_id !== APP.id) return answer(400, 'Invalid App ID');
  if (method === 'GET') return form('Log in with Facebook', []);
  const code = randomBytes(20).toString('hex');
  const asked = (query.scope ?? '').split(',');
  const denied = asked.filter((scope) => scope === unticked);
  const scope = asked.filter((it) => !denied.includes(it)).join(',');
  unticked = undefined;
  codes.set(code, { redirect_uri: query.redirect_uri, scope });
  const back = new URL(query.redirect_uri);
  back.searchParams.set('code', code);
  back.searchParams.set('state', query.state);
  if (query.return_scopes === 'true') {
    back.searchParams.set('granted_scopes', scope);
    back.searchParams.set('denied_scopes', denied.join(','));
  }
  return redirect(back);
};

// Only the fields that are asked for, and always the ID.
const fields = (asked, object, usual) => {
  const wanted = ['id', ...(asked.fields ? asked.fields.split(',') : usual)];
  return Object.fromEntries(Object.entries(object).filter(([name]) => wanted.includes(name)));
};

const api = ({ method, path, query, body, url }) => {
  const params = { ...query, ...body };
  if (/^\/v\d+\.0\/oauth\/access_token$/.test(path)) {
    const given = token(params);
    const { grant_type, fb_exchange_token, code_verifier } = params;
    return {
      ...given,
      log: {
        grant_type, presented: fb_exchange_token && mark(fb_exchange_token), bound: Boolean(code_verifier),
        given: given.body.access_token && mark(given.body.access_token),
        left: fb_exchange_token && (tokens.get(fb_exchange_token)?.ends ?? 0) - Date.now(),
      },
    };
  }
  const log = { token: params.access_token && mark(params.access_token), proof: Boolean(params.appsecret_proof) };
  const answered = () => {
    const about = tokens.get(params.access_token);
    if (!params.access_token) return failed(2500, 'An active access token must be used to query information about the current user.');
    if (!about) return failed(190, 'Invalid OAuth access token - Cannot parse access token');
    if (isOver(about)) return ended();
    const proof = createHmac('sha256', APP.secret).update(params.access_token).digest('hex');
    if (prove && !params.appsecret_proof) return failed(100, 'API calls from the server require an appsecret_proof argument', 'GraphMethodException');
    if (params.appsecret_proof && params.appsecret_proof !== proof) return failed(100, 'Invalid appsecret_proof provided in the API argument', 'GraphMethodException');
    if (refuse) {
      const code = refuse;
      refuse = undefined;
      return code === 4 ? limited() : code === 190 ? ended() : failed(code, 'Refused');
    }
    const [, , named, edge] = path.split('/');
    const node = named === me.id && !about.page ? 'me' : named;
    const page = node === 'me' ? about.page : pages.find((it) => it.id === node);
    if (node === 'me' && !edge) return answer(200, fields(params, about.page ?? me, ['name']));
    if (node === 'me' && edge === 'accounts' && about.page) {
      return failed(100, 'Tried accessing nonexisting field (accounts) on node type (Page)');
    }
    if (node === 'me' && edge === 'accounts') {
      const from = params.after ? pages.findIndex((it) => Buffer.from(it.id).toString('base64') === params.after) + 1 : 0;
      const some = pages.slice(from, from + Number(params.limit ?? 25));
      const cursor = (it) => Buffer.from(it.id).toString('base64');
      const paging = { cursors: { before: cursor(some[0]), after: cursor(some.at(-1)) } };
      if (from + some.length < pages.length) {
        const next = new URL(url);
        next.searchParams.set('after', paging.cursors.after);
        paging.next = String(next);
      }
      const data = some.map((it) => fields(params, { ...it, access_token: pageTokens.get(it.id) }, ['name', 'category', 'access_token']));
      return answer(200, { data, paging });
    }
    if (page && !edge) return answer(200, fields(params, { ...page, access_token: pageTokens.get(page.id) }, ['name']));
    if (page && edge === 'feed' && method === 'POST') {
      if (about.page?.id !== page.id) return failed(200, '(#200) The permission(s) pages_manage_posts are not available. It could because either they are deprecated or need to be approved by App Review.');
      if (!params.message && !params.link) return failed(100, '(#100) Missing message or attachment');
      return answer(200, { id: `${page.id}_${Date.now()}` });
    }
    return failed(100, `Unsupported ${method.toLowerCase()} request. Object with ID '${node}' does not exist, cannot be loaded due to missing permissions, or does not support this operation.`, 'GraphMethodException', 400, { error_subcode: 33 });
  };
  return { ...answered(), log };
};

serve({ 'www.facebook.com': site, 'graph.facebook.com': api }, {
  lifetime: (seconds) => { lifetime = Number(seconds); },
  exchange: (how) => { exchange = how; },
  refuse: (code) => { refuse = Number(code); },
  untick: (scope) => { unticked = scope; },
  prove: () => { prove = true; },
});
