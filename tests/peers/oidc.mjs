// oidc-provider (certified by the OpenID Foundation) with one person, an API that wants its tokens, and a log of every request
// to the provider on standard output: what was presented stands there as the beginning of its SHA-256.
//
// usage: node oidc.mjs PORT CONFIG, where CONFIG is JSON, all of it optional:
//   access, device   lifetimes in seconds
//   rotate           whether refresh tokens are replaced
//   once             whether the API takes an access token once only, so that every further call needs a new one
//   slow             milliseconds that a refresh takes to be answered once it is done
//   withhold         scopes that the person does not grant
//   denial           what the provider says when the person denies
//   clients          more of them; all there are where `clientAuthMethods` says what it takes
//   issuer           what it calls itself where nginx stands before it; clients may then prove themselves by certificate
//   aliases          below which nginx asks for certificates, where that is not the issuer
// POST /test/forget ends every access token; POST /test/revoke ends every grant, as a person does in the settings of the account.

import { createHash } from 'node:crypto';
import { createRequire } from 'node:module';
import { setTimeout } from 'node:timers/promises';

// Where it was installed.
const { default: Provider } = createRequire(`${process.env.PEERS}/`)('oidc-provider');

const port = Number(process.argv[2]);
const config = JSON.parse(process.argv[3] ?? '{}');
const issuer = config.issuer ?? `http://127.0.0.1:${port}`;
const print = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);
const mark = (value) => createHash('sha256').update(value).digest('hex').slice(0, 16);

const confidential = {
  client_secret: 'web-secret-of-the-test',
  redirect_uris: ['http://127.0.0.1/callback'],
  application_type: 'native',
  grant_types: ['authorization_code', 'refresh_token'],
  response_types: ['code'],
};
const clients = config.clientAuthMethods ? config.clients : [
  { client_id: 'web', ...confidential, token_endpoint_auth_method: 'client_secret_post' },
  { client_id: 'basic', ...confidential, token_endpoint_auth_method: 'client_secret_basic' },
  {
    client_id: 'device', token_endpoint_auth_method: 'none', redirect_uris: [], response_types: [], application_type: 'native',
    grant_types: ['urn:ietf:params:oauth:grant-type:device_code', 'refresh_token'],
  },
  {
    client_id: 'machine', client_secret: 'machine-secret-of-the-test', token_endpoint_auth_method: 'client_secret_post',
    redirect_uris: [], response_types: [], grant_types: ['client_credentials'],
  },
  ...(config.clients ?? []),
];

// What nginx says of the certificate that somebody showed it (RFC 8705).
const alias = (path) => `${config.aliases}${path}`;
const certificates = {
  clientAuthMethods: ['client_secret_post', 'client_secret_basic', 'tls_client_auth', 'none'],
  discovery: config.aliases && {
    mtls_endpoint_aliases: { token_endpoint: alias('/token'), revocation_endpoint: alias('/token/revocation') },
  },
};
const mTLS = {
  enabled: Boolean(config.issuer),
  tlsClientAuth: true,
  getCertificate: (ctx) => ctx.get('x-client-certificate') && decodeURIComponent(ctx.get('x-client-certificate')),
  certificateAuthorized: (ctx) => ctx.get('x-client-verified') === 'SUCCESS',
  certificateSubjectMatches: (ctx, property, expected) =>
    property === 'tls_client_auth_subject_dn' && ctx.get('x-client-subject') === expected,
};

const provider = new Provider(issuer, {
  clients,
  ...(config.clientAuthMethods && { clientAuthMethods: config.clientAuthMethods }),
  clockTolerance: 0,
  cookies: { keys: ['a key of the test'] },
  scopes: ['openid', 'offline_access', 'api:read', 'api:write', 'api:admin'],
  pkce: { required: (_ctx, client) => !client.clientId.startsWith('without-pkce') },
  rotateRefreshToken: config.rotate ?? true,
  ttl: { AccessToken: config.access ?? 3600, ClientCredentials: config.access ?? 3600, RefreshToken: 86400, Session: 3600,
    Interaction: 3600, Grant: 86400, DeviceCode: config.device ?? 600 },
  findAccount: (_ctx, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
  features: {
    devInteractions: { enabled: false },
    deviceFlow: { enabled: true },
    clientCredentials: { enabled: true },
    revocation: { enabled: true },
    introspection: { enabled: true },
    registration: { enabled: true },
    mTLS,
    resourceIndicators: {
      enabled: true,
      defaultResource: () => undefined,
      useGrantedResource: () => true,
      getResourceServerInfo: () => ({ scope: 'api:read api:write', accessTokenFormat: 'opaque' }),
    },
  },
  ...(config.issuer && certificates),
  interactions: { url: (_ctx, interaction) => `/interaction/${interaction.uid}` },
});

provider.proxy = Boolean(config.issuer);

// Every request to the provider, with what was presented.
provider.use(async (ctx, next) => {
  await next();
  const body = ctx.oidc?.body ?? {};
  const presented = {};
  for (const name of ['code', 'refresh_token', 'token', 'device_code', 'code_verifier', 'client_assertion']) {
    if (typeof body[name] === 'string') presented[name] = mark(body[name]);
  }
  if (ctx.body?.access_token) issued.push(ctx.body.access_token);
  const given = {};
  for (const name of ['access_token', 'refresh_token']) {
    if (typeof ctx.body?.[name] === 'string') given[name] = mark(ctx.body[name]);
  }
  print({
    method: ctx.method, path: ctx.path, status: ctx.status, grant: body.grant_type, client: ctx.oidc?.client?.clientId,
    redirects: ctx.path === '/reg' ? ctx.body?.redirect_uris : undefined, redirect: body.redirect_uri ?? ctx.query.redirect_uri,
    resource: body.resource, scope: body.scope ?? ctx.query.scope, presented, given, error: ctx.body?.error, host: ctx.host,
    fields: Object.keys(body),
    certificate: ctx.get('x-client-subject') || undefined, authorization: ctx.get('authorization').split(' ')[0] || undefined,
  });
  if (config.slow && body.grant_type === 'refresh_token') await setTimeout(config.slow);
});

const used = new Set();
const issued = [];
const forgotten = new Set();
const grants = new Set();
provider.on('grant.success', (ctx) => ctx.oidc.entities.Grant && grants.add(ctx.oidc.entities.Grant.jti));

const read = async (request) => {
  let body = '';
  for await (const chunk of request) body += chunk;
  return new URLSearchParams(body);
};

// Signs the person in and grants what is asked for: one page with one button.
const interaction = async (ctx) => {
  const details = await provider.interactionDetails(ctx.req, ctx.res);
  if (ctx.method === 'GET') {
    ctx.type = 'html';
    // As some providers have it: forms lead to the provider itself, and to where it sends people back.
    ctx.set('content-security-policy', `form-action 'self' ${new URL(details.params.redirect_uri ?? issuer).origin}`);
    ctx.body = `<!doctype html><title>Sign in</title><form method="post"><input name="login" value="jo">
      <button name="decision" value="yes">Allow</button><button name="decision" value="no">Deny</button></form>`;
    return;
  }
  const form = await read(ctx.req);
  if (form.get('decision') !== 'yes') {
    await provider.interactionFinished(ctx.req, ctx.res, { error: 'access_denied', error_description: config.denial ?? 'The person said no' });
    ctx.respond = false;
    return;
  }
  const accountId = form.get('login') || 'jo';
  const grant = details.grantId
    ? await provider.Grant.find(details.grantId)
    : new provider.Grant({ accountId, clientId: details.params.client_id });
  const withheld = config.withhold ?? [];
  const scopes = (details.params.scope ?? '').split(' ').filter((scope) => !withheld.includes(scope));
  grant.addOIDCScope(scopes.join(' '));
  if (withheld.length > 0) grant.rejectOIDCScope(withheld.join(' '));
  for (const resource of [details.params.resource ?? []].flat()) grant.addResourceScope(resource, scopes.join(' '));
  await provider.interactionFinished(ctx.req, ctx.res, {
    login: { accountId }, consent: { grantId: await grant.save() },
  }, { mergeWithLastSubmission: true });
  ctx.respond = false;
};

// An API that takes the provider's tokens, and says of others what RFC 6750 has to say.
const api = async (ctx) => {
  const token = /^Bearer (.+)$/.exec(ctx.get('authorization'))?.[1];
  const spent = forgotten.has(token) || (config.once && used.has(token));
  used.add(token);
  const found = token && !spent && (await provider.AccessToken.find(token) ?? await provider.ClientCredentials.find(token));
  if (!found?.isValid) {
    print({ path: ctx.path, api: true, refused: true, run: ctx.query.run });
    ctx.status = 401;
    ctx.set('www-authenticate', token ? 'Bearer error="invalid_token"' : 'Bearer');
    return;
  }
  if (ctx.path === '/api/admin') {
    ctx.status = 403;
    ctx.set('www-authenticate', 'Bearer error="insufficient_scope", scope="api:write"');
    return;
  }
  print({ path: ctx.path, api: true, token: mark(token) });
  ctx.body = ctx.path === '/check' ? (found.accountId ?? found.clientId)
    : JSON.stringify({ account: found.accountId, scope: found.scope, aud: found.aud });
};

provider.use(async (ctx, next) => {
  if (ctx.path.startsWith('/interaction/')) return interaction(ctx);
  if (ctx.path === '/check' || ctx.path.startsWith('/api')) return api(ctx);
  if (ctx.path === '/test/forget') {
    issued.forEach((token) => forgotten.add(token));
    ctx.body = 'forgotten';
    return;
  }
  if (ctx.path === '/test/revoke') {
    for (const id of grants) await (await provider.Grant.find(id))?.destroy();
    ctx.body = 'revoked';
    return;
  }
  return next();
});

provider.on('server_error', (_ctx, error) => print({ server_error: error.stack }));
provider.listen(port, '127.0.0.1');
