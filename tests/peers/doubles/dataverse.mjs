// A Dataverse environment: the rows are served by SAP's CAP (@sap/cds), a real server of OData v4 with its own SQLite in memory,
// and whoever asks for them needs a token of Microsoft Entra, which is oidc-provider under Entra's name and paths. Of both
// products only names, paths and what stands in dataverse.cds are ours. dataverse-client.mjs drives Entra's part with MSAL.
//
// told: limit    the next request of the Web API is one too many
//       forget   access tokens that were given are good no longer

import { fileURLToPath } from 'node:url';
import { mark, print, require, serve } from './double.mjs';

const { default: Provider } = require('oidc-provider');
const cds = require('@sap/cds');
const express = require('express');

const ENVIRONMENT = 'https://contoso.crm4.dynamics.com';
const ENTRA = 'https://login.microsoftonline.com';
const PERSON = { systemuserid: '5f0e9d3a-0d3b-4d0a-9d36-2b9d4f1c7a01', fullname: 'Jo Doe', domainname: 'jo@contoso.example' };
const APP = { systemuserid: '5f0e9d3a-0d3b-4d0a-9d36-2b9d4f1c7a02', fullname: '# Robot', domainname: null };

// Entra.
const provider = new Provider(`${ENTRA}/organizations/v2.0`, {
  clients: [
    {
      client_id: '6f1f2f5e-aaaa-4bbb-8ccc-0123456789ab', token_endpoint_auth_method: 'none', application_type: 'native',
      redirect_uris: ['http://127.0.0.1/callback'], response_types: ['code'],
      grant_types: ['authorization_code', 'refresh_token', 'urn:ietf:params:oauth:grant-type:device_code'],
    },
    {
      client_id: '6f1f2f5e-aaaa-4bbb-8ccc-0123456789ac', client_secret: 'robot-secret-of-the-test', redirect_uris: [],
      token_endpoint_auth_method: 'client_secret_post', response_types: [], grant_types: ['client_credentials'],
    },
  ],
  cookies: { keys: ['a key of the test'] },
  scopes: ['openid', 'profile', 'offline_access', `${ENVIRONMENT}/.default`],
  routes: {
    authorization: '/oauth2/v2.0/authorize', token: '/oauth2/v2.0/token', device_authorization: '/oauth2/v2.0/devicecode',
    code_verification: '/oauth2/deviceauth',
  },
  findAccount: (_ctx, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
  features: {
    devInteractions: { enabled: false }, deviceFlow: { enabled: true }, clientCredentials: { enabled: true },
  },
  interactions: { url: (_ctx, interaction) => `/organizations/interaction/${interaction.uid}` },
});
provider.use(async (ctx, next) => {
  // Entra hears `offline_access` from whoever asks for it, and this provider where the person is asked as well.
  if (ctx.path.endsWith('/authorize')) ctx.query = { ...ctx.query, prompt: 'consent' };
  if (ctx.path.startsWith('/interaction/')) {
    const { params } = await provider.interactionDetails(ctx.req, ctx.res);
    if (ctx.method === 'GET') {
      ctx.type = 'html';
      ctx.body = '<!doctype html><title>Sign in</title><form method="post"><button>Accept</button></form>';
      return;
    }
    const grant = new provider.Grant({ accountId: PERSON.systemuserid, clientId: params.client_id });
    grant.addOIDCScope(params.scope);
    await provider.interactionFinished(ctx.req, ctx.res, {
      login: { accountId: PERSON.systemuserid }, consent: { grantId: await grant.save() },
    });
    ctx.respond = false;
    return;
  }
  await next();
  // Entra always says how often to ask (5), and MSAL takes it for granted; here nobody waits longer than need be.
  if (ctx.body?.device_code) ctx.body = { ...ctx.body, interval: 1 };
  const { grant_type, scope } = ctx.oidc?.body ?? {};
  print({ host: new URL(ENTRA).host, method: ctx.method, path: ctx.path, status: ctx.status, grant_type, scope, error: ctx.body?.error });
});
const entra = express();
// Entra knows this grant by its short name too, which is the one that MSAL sends.
entra.use('/:tenant/oauth2/v2.0/token', express.urlencoded({ extended: false }), (request, _response, next) => {
  if (request.body?.grant_type === 'device_code') request.body.grant_type = 'urn:ietf:params:oauth:grant-type:device_code';
  next();
});
entra.use('/:tenant', provider.callback());

// The Web API.
let limited = false;
let forgotten = new Set();
const seen = new Set();
const api = express();
api.use(async (request, response, next) => {
  const token = /^Bearer (.+)$/.exec(request.headers.authorization ?? '')?.[1] ?? '';
  const found = forgotten.has(token) ? undefined : await provider.AccessToken.find(token) ?? await provider.ClientCredentials.find(token);
  // Before the answer is there: whoever has it may look at once.
  const end = response.end.bind(response);
  response.end = (...rest) => {
    print({
      host: new URL(ENVIRONMENT).host, method: request.method, path: request.originalUrl.split('?')[0], status: response.statusCode,
      prefer: request.headers.prefer, only_if: request.headers['if-match'], version: request.headers['odata-version'], token: mark(token),
    });
    return end(...rest);
  };
  if (!found?.isValid || !found.scopes.has(`${ENVIRONMENT}/.default`)) {
    response.set('WWW-Authenticate', `Bearer authorization_uri=${ENTRA}/organizations/oauth2/authorize, resource_id=${ENVIRONMENT}/`);
    return response.status(401).end();
  }
  seen.add(token);
  if (limited) {
    limited = false;
    return response.status(429).set('Retry-After', '17').json({
      error: { code: '0x80072322', message: 'Number of requests exceeded the limit of 6000 over time window of 300 seconds.' },
    });
  }
  request.caller = found.accountId ? PERSON : APP;
  next();
});

cds.env.requires.db = { kind: 'sqlite', impl: require.resolve('@cap-js/sqlite'), credentials: { url: ':memory:' } };
// Who may ask was found out above.
cds.env.requires.auth = { kind: 'dummy' };
const model = await cds.load(fileURLToPath(new URL('../odata/dataverse.cds', import.meta.url)));
cds.model = cds.compile.for.nodejs(model);
cds.db = await cds.connect.to('db');
await cds.deploy(model).to(cds.db);
await cds.run(INSERT.into('Dataverse.systemusers').entries(PERSON, APP));
await cds.serve('all').from(model).in(api).with(function () {
  this.on('WhoAmI', ({ http }) => ({ UserId: http.req.caller.systemuserid }));
});

const handled = (app) => ({ raw: (request, response) => { app(request, response); } });
serve({ 'login.microsoftonline.com': handled(entra), 'contoso.crm4.dynamics.com': handled(api) }, {
  limit: () => { limited = true; },
  forget: () => { forgotten = new Set(seen); },
});
